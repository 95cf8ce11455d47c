//! The handle of a queue, pushing, and lengths.
//!
//! Owns what the other files of the queue share. Invariant: a push writes keys that no other
//! transaction can write, so pushes never conflict.

use super::{
    error::{QueueError, check_batch},
    item::Item,
    keys::{Keys, List, State},
    low::Low,
    options::QueueOptions,
    spread::Spread,
};
use crate::{
    error::Error,
    layers::{clock::as_ms, id::Id, number},
    store::Store,
    transaction::Transaction,
    tuple::Subspace,
};

/// One consumer's or producer's handle of a queue. Belongs to one thread; other threads and
/// processes make their own.
#[derive(Debug)]
pub struct Queue {
    pub(super) store: Store,
    pub(super) keys: Keys,
    pub(super) options: QueueOptions,
    pub(super) spread: Spread,
    pub(super) low: Low,
}

/// How many items a queue has. Commits count them with atomic additions, so reading is one round
/// trip and disturbs nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lengths {
    /// Items that were never leased.
    pub ready: u64,
    /// Items that are delayed, leased or waiting for another attempt, or whose time has come.
    pub later: u64,
    /// Dead letters.
    pub dead: u64,
}

impl Queue {
    /// The queue under `keys`, a subspace that holds nothing else. Reads and writes nothing.
    #[must_use]
    pub fn new(store: &Store, keys: &Subspace, options: QueueOptions) -> Self {
        Self::seeded(store, keys, options, fastrand::Rng::new())
    }

    /// As [`Queue::new`], with random choices that a test can repeat.
    #[must_use]
    pub fn seeded(store: &Store, keys: &Subspace, options: QueueOptions, rng: fastrand::Rng) -> Self {
        let (keys, spread) = (Keys::under(keys), Spread::new(rng));
        Self { store: store.clone(), keys, options, spread, low: Low::new() }
    }

    /// Pushes 1 to [`super::BATCH_MAX`] items in one transaction, and returns their ids in order.
    ///
    /// # Errors
    /// [`QueueError::Batch`]; [`QueueError::Store`], such as for a body that is too large. An error
    /// that may have been committed means that another push may make the items twice.
    ///
    /// # Cancel safety
    /// Dropping the future pushes all items or none.
    pub async fn push(&self, items: &[Item]) -> Result<Vec<Id>, QueueError> {
        check_batch(items.len())?;
        let push = async |tx: &Transaction| {
            let stamps = items.iter().map(|item| self.put(tx, item)).collect::<Result<Vec<_>, Error>>()?;
            Ok::<_, Error>((stamps, tx.versionstamp()))
        };
        let (stamps, committed) = self.store.run(&self.options.run, push).await?;
        let committed = committed.await?;
        Ok(stamps.iter().map(|stamp| Id::completed(committed, stamp)).collect())
    }

    /// Pushes an item in the caller's transaction: it is there when the transaction is committed.
    ///
    /// # Errors
    /// As for [`Transaction`].
    pub fn push_in(&self, tx: &Transaction, item: &Item) -> Result<(), Error> {
        self.put(tx, item).map(drop)
    }

    fn put(&self, tx: &Transaction, item: &Item) -> Result<crate::Versionstamp, Error> {
        let stamp = tx.next_stamp()?;
        tx.set_versionstamped_key(&self.keys.new_body(&stamp), &item.body)?;
        let (key, list) = if item.delay.is_zero() {
            (self.keys.new_ready(&stamp), List::Ready)
        } else {
            let at_ms = self.options.clock.now_ms().saturating_add(as_ms(item.delay));
            (self.keys.new_later(at_ms, &stamp), List::Later)
        };
        tx.set_versionstamped_key(&key, &State::NEW.to_bytes())?;
        self.count(tx, list, 1)?;
        self.announce(tx)?;
        Ok(stamp)
    }

    /// The number of items in each list.
    ///
    /// # Errors
    /// As for [`Store::read`].
    pub async fn lengths(&self) -> Result<Lengths, Error> {
        let keys = [List::Ready, List::Later, List::Dead].map(|list| self.keys.length(list));
        let read = self.store.read(&self.options.run, async |snapshot| snapshot.get_all(&keys).await).await?;
        let number = |at: usize| number::read(read.get(at).and_then(Option::as_ref));
        Ok(Lengths { ready: number(0), later: number(1), dead: number(2) })
    }

    pub(super) fn count(&self, tx: &Transaction, list: List, delta: i64) -> Result<(), Error> {
        number::add(tx, self.keys.length(list), delta)
    }

    /// Wakes consumers that wait: an item may be visible earlier than they know.
    pub(super) fn announce(&self, tx: &Transaction) -> Result<(), Error> {
        number::add(tx, &self.keys.changes, 1)
    }
}
