//! How many entries of others a member has not read.
//!
//! Owns the counters. A new copy adds one without reading, so posts to the same follower never
//! conflict; what was read is stored as a position and the number of copies up to it. Invariant:
//! `arrived` less the copies after the position, as far as these are counted, is the same at every
//! later moment, so marking needs no conflict check against new copies.

use store::{Error, Position, RunOptions, Snapshot, Transaction};

use crate::cache::Sources;
use crate::counter::{Changes, UNREAD_MAX};
use crate::feeds::Feeds;
use crate::mark::Mark;

/// Most copies after a position that are counted: the one above `UNREAD_MAX` shows that there are
/// more.
const COUNTED_MAX: usize = 1_001;

/// The unread entries of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Unread entries, at most 1 000.
    pub count: u64,
    /// True when there are more than that.
    pub more: bool,
    /// The position up to which the member has read; `None` when it never marked any.
    pub read: Option<Position>,
}

impl Unread {
    pub(crate) fn of(sources: &Sources) -> Self {
        let mark = &sources.mark;
        let copied = sources.changes.arrived.saturating_sub(mark.arrived);
        let pulled = sources.pulls.iter().zip(&sources.pulled).map(|(pull, &posted)| pull.unread(posted));
        let count = copied + pulled.sum::<u64>();
        let read = Some(mark.position).filter(|position| *position > Position::FIRST);
        Self { count: count.min(UNREAD_MAX), more: count > UNREAD_MAX, read }
    }
}

impl Feeds {
    /// Counts what `owner` has not read.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn unread(&self, owner: &str, options: &RunOptions) -> Result<Unread, Error> {
        if let Some(head) = self.current(owner).await? {
            return Ok(Unread::of(&head.sources));
        }
        let work = async |snapshot: Snapshot<'_>| {
            let kept = self.heads.get(owner);
            Ok::<_, Error>(Unread::of(&self.sources(snapshot, owner, kept.as_deref()).await?))
        };
        self.store.read(options, work).await
    }

    /// Marks everything up to `upto` as read, or everything when `upto` is `None`. A mark never
    /// moves back.
    ///
    /// # Errors
    /// Errors of the store.
    ///
    /// # Cancel safety
    /// The mark is written completely or not at all.
    pub async fn mark_read(
        &self,
        owner: &str,
        upto: Option<Position>,
        options: &RunOptions,
    ) -> Result<(), Error> {
        let work = async |transaction: &Transaction| {
            let key = self.keys.read(owner);
            let known = Mark::of(transaction.get(&key).await?.as_deref());
            let snapshot = transaction.snapshot();
            let now = Position::newest_at(snapshot.read_version().await?);
            let position = upto.unwrap_or(now).min(now);
            if position <= known.position {
                return Ok(());
            }
            let changes = snapshot.get(&self.keys.changes(owner)).await?;
            let mut arrived = Changes::of(changes.as_deref()).arrived;
            // Above the limit of counted entries the exact number does not matter.
            let newer = self.keys.line_between(owner, position, Position::LAST).limit(COUNTED_MAX);
            let mut newer = snapshot.rows(newer);
            while newer.next().await?.is_some() {
                arrived = arrived.saturating_sub(1);
            }
            self.mark_pulls(transaction, owner, position).await?;
            transaction.add(&self.keys.changes(owner), &Changes::MARKED.to_bytes())?;
            transaction.set(&key, &Mark { position, arrived }.to_bytes())
        };
        self.store.run(&options.idempotent(), work).await
    }
}
