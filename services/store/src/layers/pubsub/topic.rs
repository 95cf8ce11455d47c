//! The handle of a topic: publishing, subscribers, and size.
//!
//! Owns the cursors' rows. Invariant: a cursor never moves back; publications never conflict.

use super::keys::{Keys, row};
use crate::{
    error::Error,
    layers::{clock::Clock, id::Id, number},
    options::RunOptions,
    store::Store,
    transaction::Transaction,
    tuple::Subspace,
};

/// Messages in one call. Bounds a batch of bodies of 100 kB to some 25 MB.
pub const BATCH_MAX: usize = 256;

/// Bytes of a subscriber's name.
pub const SUBSCRIBER_BYTES_MAX: usize = 256;

/// One instance's handle of a topic. Belongs to one thread.
#[derive(Debug, Clone)]
pub struct Topic {
    pub(super) store: Store,
    pub(super) keys: Keys,
    pub(super) clock: Clock,
    pub(super) run: RunOptions,
}

/// Where a subscriber begins that has no cursor yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the oldest message that is not trimmed.
    Oldest,
    /// With the messages that are published after the subscription.
    Now,
}

/// A subscriber as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscriber {
    /// Its name.
    pub name: String,
    /// Up to where it has acknowledged.
    pub cursor: Id,
}

/// How much a topic holds, counted by atomic additions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// Messages.
    pub messages: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
}

/// An error of a topic.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PubsubError {
    /// Too many messages in one call, or none.
    #[error("{len} messages in one call: give 1 to {BATCH_MAX}")]
    Batch {
        /// Messages given or asked for.
        len: usize,
    },
    /// A subscriber's name is empty or too long.
    #[error("a subscriber's name has {len} bytes: give 1 to {SUBSCRIBER_BYTES_MAX}")]
    Name {
        /// Bytes of the name.
        len: usize,
    },
    /// The subscriber has no cursor: it was unsubscribed.
    #[error("{name:?} does not subscribe to this topic: call `subscribe` first")]
    Unsubscribed {
        /// The name.
        name: String,
    },
    /// The store's error.
    #[error(transparent)]
    Store(#[from] Error),
}

impl Topic {
    /// The topic under `keys`, a subspace that holds nothing else. Reads and writes nothing.
    #[must_use]
    pub fn new(store: &Store, keys: &Subspace) -> Self {
        Self::with(store, keys, Clock::wall(), RunOptions::default())
    }

    /// As [`Topic::new`], with a clock and bounds of each transaction.
    #[must_use]
    pub fn with(store: &Store, keys: &Subspace, clock: Clock, run: RunOptions) -> Self {
        Self { store: store.clone(), keys: Keys::under(keys), clock, run }
    }

    /// Publishes 1 to [`BATCH_MAX`] messages in one transaction, and returns their ids in order.
    ///
    /// # Errors
    /// [`PubsubError::Batch`]; [`PubsubError::Store`], such as for a body that is too large. An
    /// error that may have been committed means that another call may publish them twice.
    ///
    /// # Cancel safety
    /// Dropping the future publishes all messages or none.
    pub async fn publish(&self, bodies: &[impl AsRef<[u8]>]) -> Result<Vec<Id>, PubsubError> {
        check_batch(bodies.len())?;
        let publish = async |tx: &Transaction| {
            let stamps = bodies.iter().map(|body| self.put(tx, body.as_ref()));
            Ok::<_, Error>((stamps.collect::<Result<Vec<_>, Error>>()?, tx.versionstamp()))
        };
        let (stamps, committed) = self.store.run(&self.run, publish).await?;
        let committed = committed.await?;
        Ok(stamps.iter().map(|stamp| Id::completed(committed, stamp)).collect())
    }

    /// Publishes a message in the caller's transaction.
    ///
    /// # Errors
    /// As for [`Transaction`]. A body has 8 bytes less than [`crate::limits::VALUE_BYTES_MAX`].
    pub fn publish_in(&self, tx: &Transaction, body: &[u8]) -> Result<(), Error> {
        self.put(tx, body).map(drop)
    }

    fn put(&self, tx: &Transaction, body: &[u8]) -> Result<crate::Versionstamp, Error> {
        let stamp = tx.next_stamp()?;
        tx.set_versionstamped_key(&self.keys.new_message(&stamp), &row(self.clock.now_ms(), body))?;
        number::add(tx, &self.keys.messages, 1)?;
        number::add(tx, &self.keys.bytes, i64::try_from(body.len()).unwrap_or(i64::MAX))?;
        number::add(tx, &self.keys.changes, 1)?;
        Ok(stamp)
    }

    /// Removes the cursor of `name`, so that trimming no longer waits for it. False when it had
    /// none.
    ///
    /// # Errors
    /// As for [`Store::run`].
    pub async fn unsubscribe(&self, name: &str) -> Result<bool, Error> {
        let key = self.keys.cursor(name);
        let unsubscribe = async |tx: &Transaction| {
            let was = tx.get(&key).await?.is_some();
            tx.clear(&key)?;
            Ok::<_, Error>(was)
        };
        self.store.run(&self.run, unsubscribe).await
    }

    /// All subscribers, by name.
    ///
    /// # Errors
    /// As for [`Store::read`].
    pub async fn subscribers(&self) -> Result<Vec<Subscriber>, Error> {
        let rows = self.store.read(&self.run, async |snapshot| snapshot.range(self.keys.all_cursors()).await);
        let subscriber = |row: crate::KeyValue| {
            let cursor = Id::of_value(&row.value).unwrap_or(Id::FIRST);
            Some(Subscriber { name: self.keys.subscriber_of(&row.key)?, cursor })
        };
        Ok(rows.await?.into_iter().filter_map(subscriber).collect())
    }

    /// How much the topic holds.
    ///
    /// # Errors
    /// As for [`Store::read`].
    pub async fn size(&self) -> Result<Size, Error> {
        let keys = [&self.keys.messages, &self.keys.bytes];
        let read = self.store.read(&self.run, async |snapshot| snapshot.get_all(&keys).await).await?;
        let number = |at: usize| number::read(read.get(at).and_then(Option::as_ref));
        Ok(Size { messages: number(0), bytes: number(1) })
    }
}

/// The row of the trimmed messages; before all ids when nothing was trimmed.
pub(super) fn trimmed(value: Option<&[u8]>) -> Id {
    value.and_then(Id::of_value).unwrap_or(Id::FIRST)
}

/// Checks the number of messages in one call.
pub(super) fn check_batch(len: usize) -> Result<(), PubsubError> {
    match len {
        1..=BATCH_MAX => Ok(()),
        _ => Err(PubsubError::Batch { len }),
    }
}
