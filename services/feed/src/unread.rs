//! How many entries of others a member has not read.
//!
//! Owns: the counters. A copy that arrives adds one without reading, so that posts to the same follower never conflict;
//! what was read is kept as a position and the number of copies up to it. Invariant: `arrived` less what lies behind the
//! position, as far as it is counted, is the same at every moment after the position, so marking needs no check against arrivals.

use store::{Error, Position, RunOptions, Snapshot, Transaction, limits::STAMP_BYTES};

use crate::feeds::{Feeds, number};
use crate::heads::Sources;

/// Most that is counted: beyond it nobody wants the number.
pub(crate) const UNREAD_MAX: u64 = 1_000;

/// Copies behind a position that are counted: one more, which says that there are more.
const COUNTED_MAX: usize = 1_001;

/// What is unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Entries, at most 1 000.
    pub count: u64,
    /// There are more than that.
    pub more: bool,
    /// Up to where the member has read; `None` = never.
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
    /// The store's.
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

    /// `owner` has read what is there now, or what is at and before `upto`. Never goes back.
    ///
    /// # Errors
    /// The store's.
    ///
    /// # Cancel safety
    /// All or nothing.
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
            // Beyond what is counted all are the same.
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
