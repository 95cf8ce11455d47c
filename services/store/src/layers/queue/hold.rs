//! What the holder of a lease can do with its item: `ack`, `retry`, `release`, `extend`.
//!
//! Owns the check that a lease is still the item's newest. Invariant: a lost lease changes nothing.

use std::time::Duration;

use super::{
    dead::Death,
    error::{QueueError, check_batch},
    handle::Queue,
    item::Lease,
    keys::{List, State},
    options::REASON_BYTES_MAX,
};
use crate::{error::Error, layers::clock::as_ms, layers::id::Id, transaction::Transaction};

/// What became of an item that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is visible again after this pause.
    Again(Duration),
    /// It is a dead letter.
    Dead,
}

impl Queue {
    /// Removes an item that is done. An item whose lease ended, but that no other consumer took, is
    /// removed too.
    ///
    /// # Errors
    /// [`QueueError::LeaseLost`]; [`QueueError::Store`]: when that may have been committed, the
    /// item is removed, or comes again when its lease ends.
    ///
    /// # Cancel safety
    /// Dropping the future removes the item or not.
    pub async fn ack(&self, lease: &Lease) -> Result<(), QueueError> {
        self.store.run(&self.options.run, async |tx| self.ack_in(tx, lease).await).await
    }

    /// As [`Queue::ack`], in the caller's transaction: what it writes besides is written exactly
    /// once for the item.
    ///
    /// # Errors
    /// As for [`Queue::ack`]; pass them on, so that nothing is committed.
    pub async fn ack_in(&self, tx: &Transaction, lease: &Lease) -> Result<(), QueueError> {
        tx.clear(&self.held(tx, lease).await?)?;
        tx.clear(&self.keys.body(lease.id))?;
        Ok(self.count(tx, List::Later, -1)?)
    }

    /// Removes 1 to [`super::BATCH_MAX`] items that are done, in one transaction. Returns the items
    /// whose leases are lost; the others are removed.
    ///
    /// # Errors
    /// As for [`Queue::ack`], but not [`QueueError::LeaseLost`].
    ///
    /// # Cancel safety
    /// Dropping the future removes all items or none.
    #[must_use = "items whose leases are lost come again"]
    pub async fn ack_all(&self, leases: &[Lease]) -> Result<Vec<Id>, QueueError> {
        check_batch(leases.len())?;
        let ack = async |tx: &Transaction| {
            let keys: Vec<_> = leases.iter().map(|lease| self.keys.later(lease.until_ms, lease.id)).collect();
            let states = tx.get_all(&keys).await?;
            let (mut lost, mut count) = (Vec::new(), 0);
            for ((lease, key), state) in leases.iter().zip(&keys).zip(states) {
                if lease.is_of(state.as_deref().map(State::parse)) {
                    tx.clear(key)?;
                    tx.clear(&self.keys.body(lease.id))?;
                    count += 1;
                } else {
                    lost.push(lease.id);
                }
            }
            self.count(tx, List::Later, -count)?;
            Ok::<_, Error>(lost)
        };
        Ok(self.store.run(&self.options.run, ack).await?)
    }

    /// Gives back an item whose work failed: it is visible again after a pause that doubles with
    /// each attempt, or a dead letter after the last one. `reason` is kept with a dead letter.
    ///
    /// # Errors
    /// As for [`Queue::ack`].
    ///
    /// # Cancel safety
    /// Dropping the future gives the item back, or leaves it until its lease ends.
    pub async fn retry(&self, lease: &Lease, reason: &str) -> Result<Fate, QueueError> {
        let pause = self.spread.with_rng(|rng| self.options.backoff.pause(lease.state.failures(), rng));
        let again = lease.state.failures() < self.options.attempts_max;
        let give_back = async |tx: &Transaction| {
            tx.clear(&self.held(tx, lease).await?)?;
            let now_ms = self.options.clock.now_ms();
            if again {
                let waiting = State { is_leased: false, ..lease.state };
                let at_ms = now_ms.saturating_add(as_ms(pause));
                tx.set(&self.keys.later(at_ms, lease.id), &waiting.to_bytes())?;
                self.announce(tx)?;
                return Ok(Fate::Again(pause));
            }
            let reason = &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)];
            self.bury(tx, lease.id, &Death { at_ms: now_ms, attempts: lease.attempt(), reason })?;
            self.count(tx, List::Later, -1)?;
            Ok(Fate::Dead)
        };
        let fate: Result<Fate, QueueError> = self.store.run(&self.options.run, give_back).await;
        if let Ok(Fate::Dead) = fate {
            tracing::warn!(id = %lease.id, attempts = lease.attempt(), reason, "an item is a dead letter");
        }
        fate
    }

    /// Gives back an item that was not worked on, such as when the consumer stops: it is visible
    /// at once, and the attempt does not count.
    ///
    /// # Errors
    /// As for [`Queue::ack`].
    ///
    /// # Cancel safety
    /// As for [`Queue::retry`].
    pub async fn release(&self, lease: &Lease) -> Result<(), QueueError> {
        let give_back = async |tx: &Transaction| {
            tx.clear(&self.held(tx, lease).await?)?;
            let forgiven = lease.state.forgiven + 1;
            let waiting = State { forgiven, is_leased: false, ..lease.state };
            tx.set(&self.keys.later(self.options.clock.now_ms(), lease.id), &waiting.to_bytes())?;
            Ok(self.announce(tx)?)
        };
        self.store.run(&self.options.run, give_back).await
    }

    /// Begins the lease anew: it ends [`super::QueueOptions::lease`] from now.
    ///
    /// # Errors
    /// As for [`Queue::ack`].
    ///
    /// # Cancel safety
    /// Dropping the future may leave `lease` behind what is stored: it is lost then, and the item
    /// comes again when the extended lease ends.
    pub async fn extend(&self, lease: &mut Lease) -> Result<(), QueueError> {
        let now_ms = self.options.clock.now_ms();
        // A lease never ends earlier than before, also when the clock was set back.
        let until_ms = now_ms.saturating_add(as_ms(self.options.lease).max(1)).max(lease.until_ms);
        let extended = Lease { until_ms, ..lease.clone() };
        let extend = async |tx: &Transaction| {
            // After an unknown commit the row may be at its new place already.
            if self.held(tx, &extended).await.is_ok() {
                return Ok(());
            }
            tx.clear(&self.held(tx, lease).await?)?;
            Ok::<_, QueueError>(tx.set(&self.keys.later(until_ms, lease.id), &lease.state.to_bytes())?)
        };
        self.store.run(&self.options.run.idempotent(), extend).await?;
        lease.until_ms = until_ms;
        Ok(())
    }

    /// The key of the lease's row.
    async fn held(&self, tx: &Transaction, lease: &Lease) -> Result<Vec<u8>, QueueError> {
        let key = self.keys.later(lease.until_ms, lease.id);
        let state = tx.get(&key).await?;
        if lease.is_of(state.as_deref().map(State::parse)) {
            return Ok(key);
        }
        Err(QueueError::LeaseLost { id: lease.id, attempt: lease.attempt() })
    }
}

impl Lease {
    /// True when `state`, the row where the lease put its item, is still the lease's.
    fn is_of(&self, state: Option<State>) -> bool {
        state == Some(self.state)
    }
}
