//! How many entries of others a member has not read.
//!
//! Owns the counters. A new copy adds one without reading, so posts to the same follower never
//! conflict; what was read is stored as a position and the number of copies up to it. Invariant:
//! `arrived` less the copies after the position, as far as these are counted, is the same at every
//! later moment, so marking needs no conflict check against new copies.

use store::{Error, Position, RunOptions, Snapshot, Transaction, limits::STAMP_BYTES};

use crate::cache::Sources;
use crate::counter::{UNREAD_MAX, number};
use crate::feeds::Feeds;

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

/// The value of `read`.
struct Mark {
    position: Position,
    arrived: u64,
}

impl Feeds {
    /// Counts what `owner` has not read.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn unread(&self, owner: &str, options: &RunOptions) -> Result<Unread, Error> {
        let work = async |snapshot: Snapshot<'_>| {
            let kept = self.heads.get(owner);
            let sources = self.sources(snapshot, owner, kept.as_deref()).await?;
            self.unread_of(snapshot, owner, &sources).await
        };
        self.store.read(options, work).await
    }

    pub(crate) async fn unread_of(
        &self,
        snapshot: Snapshot<'_>,
        owner: &str,
        sources: &Sources,
    ) -> Result<Unread, Error> {
        let mark = Mark::of(snapshot.get(&self.keys.read(owner)).await?.as_deref());
        let copied = sources.arrived.saturating_sub(mark.arrived);
        let pulled = sources.pulls.iter().zip(&sources.pulled).map(|(pull, &posted)| pull.unread(posted));
        let count = copied + pulled.sum::<u64>();
        let read = Some(mark.position).filter(|position| *position > Position::FIRST);
        Ok(Unread { count: count.min(UNREAD_MAX), more: count > UNREAD_MAX, read })
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
            let mut arrived = number(snapshot.get(&self.keys.arrived(owner)).await?.as_ref());
            // Above the limit of counted entries the exact number does not matter.
            let newer = self.keys.line_between(owner, position, Position::LAST).limit(COUNTED_MAX);
            let mut newer = snapshot.rows(newer);
            while newer.next().await?.is_some() {
                arrived = arrived.saturating_sub(1);
            }
            self.mark_pulls(transaction, owner, position).await?;
            transaction.set(&key, &Mark { position, arrived }.to_bytes())
        };
        self.store.run(&options.idempotent(), work).await
    }
}

impl Mark {
    fn of(value: Option<&[u8]>) -> Self {
        let parse = |value: &[u8]| {
            let arrived = value.get(STAMP_BYTES..)?.first_chunk().copied()?;
            Some(Self { position: Position::from_prefix(value)?, arrived: u64::from_le_bytes(arrived) })
        };
        value.and_then(parse).unwrap_or(Self { position: Position::FIRST, arrived: 0 })
    }

    fn to_bytes(&self) -> Vec<u8> {
        [&self.position.as_bytes()[..], &self.arrived.to_le_bytes()].concat()
    }
}
