//! Dead letters: items that failed too often. They stay until an operator requeues or purges them.
//!
//! Owns their rows. Invariant: a dead letter keeps its body and its id.

use bytes::Bytes;

use super::{
    error::{QueueError, check_batch},
    handle::Queue,
    keys::{List, State},
};
use crate::{error::Error, layers::id::Id, transaction::Transaction};

/// An item that failed too often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The item's id.
    pub id: Id,
    /// The item's body.
    pub body: Bytes,
    /// How often it was leased.
    pub attempts: u32,
    /// When it died, in milliseconds since 1970.
    pub at_ms: u64,
    /// Why the last attempt failed.
    pub reason: String,
}

/// The value of a dead letter's row.
pub(super) struct Death<'r> {
    pub(super) at_ms: u64,
    pub(super) attempts: u32,
    pub(super) reason: &'r str,
}

impl Death<'static> {
    pub(super) const NO_ANSWER: &'static str = "the lease ended without an answer";
    pub(super) const NO_BODY: &'static str = "the item has no body: the store is damaged";
}

impl Death<'_> {
    fn to_bytes(&self) -> Vec<u8> {
        [&self.at_ms.to_le_bytes()[..], &self.attempts.to_le_bytes(), self.reason.as_bytes()].concat()
    }
}

impl DeadLetter {
    /// An unreadable row becomes a letter of time 0 without a reason.
    fn of(id: Id, value: &[u8], body: Option<Bytes>) -> Self {
        let at_ms = value.first_chunk().copied().map_or(0, u64::from_le_bytes);
        let rest = value.get(8..).unwrap_or_default();
        let attempts = rest.first_chunk().copied().map_or(0, u32::from_le_bytes);
        let reason = String::from_utf8_lossy(rest.get(4..).unwrap_or_default()).into_owned();
        Self { id, body: body.unwrap_or_default(), attempts, at_ms, reason }
    }
}

impl Queue {
    /// Up to `max` dead letters after `after`, in the order in which they were pushed; `None`
    /// begins at the first one.
    ///
    /// # Errors
    /// [`QueueError::Batch`], [`QueueError::Store`].
    pub async fn dead_letters(&self, after: Option<Id>, max: usize) -> Result<Vec<DeadLetter>, QueueError> {
        check_batch(max)?;
        let range = self.keys.dead_after(after).limit(max);
        let read = self.store.read(&self.options.run, async |snapshot| {
            let rows = snapshot.range(range.clone()).await?;
            let rows: Vec<_> =
                rows.into_iter().filter_map(|row| Some((Id::of_key(&row.key)?, row.value))).collect();
            let keys: Vec<_> = rows.iter().map(|(id, _)| self.keys.body(*id)).collect();
            let bodies = snapshot.get_all(&keys).await?;
            let letters =
                rows.into_iter().zip(bodies).map(|((id, value), body)| DeadLetter::of(id, &value, body));
            Ok::<_, Error>(letters.collect())
        });
        Ok(read.await?)
    }

    /// Makes 1 to [`super::BATCH_MAX`] dead letters visible again, with all their attempts. Returns
    /// how many of them were dead letters.
    ///
    /// # Errors
    /// [`QueueError::Batch`], [`QueueError::Store`].
    ///
    /// # Cancel safety
    /// Dropping the future requeues all of them or none.
    pub async fn requeue(&self, ids: &[Id]) -> Result<usize, QueueError> {
        let requeue = async |tx: &Transaction| {
            let now_ms = self.options.clock.now_ms();
            let dead = self.exhume(tx, ids).await?;
            for (id, letter) in &dead {
                let DeadLetter { attempts, .. } = DeadLetter::of(*id, letter, None);
                // Attempts are fencing tokens, so they are forgiven and not forgotten.
                let state = State { attempts, forgiven: attempts, is_leased: false };
                tx.set(&self.keys.later(now_ms, *id), &state.to_bytes())?;
            }
            self.count(tx, List::Later, i64::try_from(dead.len()).unwrap_or(i64::MAX))?;
            self.announce(tx)?;
            Ok::<_, Error>(dead.len())
        };
        check_batch(ids.len())?;
        Ok(self.store.run(&self.options.run, requeue).await?)
    }

    /// Removes 1 to [`super::BATCH_MAX`] dead letters for good. Returns how many of them were dead
    /// letters.
    ///
    /// # Errors
    /// [`QueueError::Batch`], [`QueueError::Store`].
    ///
    /// # Cancel safety
    /// Dropping the future removes all of them or none.
    pub async fn purge(&self, ids: &[Id]) -> Result<usize, QueueError> {
        let purge = async |tx: &Transaction| {
            let dead = self.exhume(tx, ids).await?;
            dead.iter().try_for_each(|(id, _)| tx.clear(&self.keys.body(*id)))?;
            Ok::<_, Error>(dead.len())
        };
        check_batch(ids.len())?;
        Ok(self.store.run(&self.options.run, purge).await?)
    }

    /// Makes an item, which the caller takes out of its list, a dead letter.
    pub(super) fn bury(&self, tx: &Transaction, id: Id, death: &Death<'_>) -> Result<(), Error> {
        tx.set(&self.keys.dead(id), &death.to_bytes())?;
        self.count(tx, List::Dead, 1)
    }

    /// Takes those of `ids` that are dead letters out of their list.
    async fn exhume(&self, tx: &Transaction, ids: &[Id]) -> Result<Vec<(Id, Bytes)>, Error> {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        let keys: Vec<_> = ids.iter().map(|id| self.keys.dead(*id)).collect();
        let mut dead = Vec::new();
        for ((id, key), letter) in ids.into_iter().zip(&keys).zip(tx.get_all(&keys).await?) {
            if let Some(letter) = letter {
                tx.clear(key)?;
                dead.push((id, letter));
            }
        }
        self.count(tx, List::Dead, -i64::try_from(dead.len()).unwrap_or(i64::MAX))?;
        Ok(dead)
    }
}
