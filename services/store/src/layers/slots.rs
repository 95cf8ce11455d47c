//! Runs that one of several instances makes: of each slot of time, such as a minute, one instance
//! makes the run.
//!
//! Owns a row for each task, and who may run it. `service-host` owns when slots are, and calls the
//! task. All methods take the time as an argument.
//!
//! | key | value |
//! | --- | --- |
//! | `(task)` | slot, fence, lease end, token: 8 bytes each; failures: 4 bytes; 1 when done |
//!
//! **Once.** The instance whose claim commits first has the slot; another's claim conflicts, and
//! sees then that the slot is taken. When the instance dies, its lease ends, and another one runs
//! the slot again, or a newer one that is due. So a slot is run once, and again only after a run
//! that failed or did not end.
//!
//! **No overlap.** While a lease lasts, no other run of the task begins, also not of a newer slot.
//! The runner must renew the lease, and stop when it cannot. It learns too late that its lease
//! ended when its process stood still; for that, [`Run::check_in`] makes a transaction of the run
//! fail when another run has begun.
//!
//! **Clocks.** Leases are compared with the clocks of the instances that look. When they differ by
//! more than a lease, runs may overlap; differences below that start runs early by the difference.
//!
//! Invariant: fences grow with each run, and the row changes only for the holder of the newest
//! fence or when its lease has ended.

mod row;
#[cfg(test)]
mod tests;

use std::time::Duration;

use self::row::Row;
use crate::{
    error::Error,
    layers::{backoff::Backoff, clock::as_ms},
    options::RunOptions,
    store::Store,
    transaction::Transaction,
    tuple::Subspace,
};

/// The rows of a service's tasks.
#[derive(Debug, Clone)]
pub struct Slots {
    store: Store,
    keys: Subspace,
    run: RunOptions,
}

/// What a claim came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// The caller runs the slot.
    Mine(Run),
    /// Another run, or the pause after one that failed, lasts until then: milliseconds since 1970.
    Busy {
        /// When the lease or the pause ends.
        until_ms: u64,
    },
    /// The slot was run, or it was before the task existed.
    Done,
}

/// A run that the caller makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    key: Vec<u8>,
    /// The slot: milliseconds since 1970.
    pub slot_ms: u64,
    /// The slot of the run before. The same as `slot_ms` when that run failed or did not end.
    pub previous_ms: u64,
    /// Greater for each run of the task: a fencing token.
    pub fence: u64,
    /// When the lease ends unless it is renewed: milliseconds since 1970.
    pub until_ms: u64,
}

/// Why a run may not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// Another run of the task has begun.
    #[error("run {fence} has lost its lease, and another run of the task has begun: stop it")]
    Lost {
        /// The fence of the run that is over.
        fence: u64,
    },
    /// The store's error.
    #[error(transparent)]
    Store(#[from] Error),
}

impl Slots {
    /// The tasks under `keys`, a subspace that holds nothing else. Reads and writes nothing.
    #[must_use]
    pub fn new(store: &Store, keys: &Subspace) -> Self {
        Self { store: store.clone(), keys: keys.clone(), run: RunOptions::default().idempotent() }
    }

    /// Claims the slot `due_ms`, the newest one of `task` that is not after `now_ms`. A slot that
    /// was missed because no instance ran is not claimed when a newer one is due: the task runs
    /// once for all of them. A task that is new is done until its next slot.
    ///
    /// # Errors
    /// As for [`Store::run`].
    ///
    /// # Cancel safety
    /// When the future was dropped, the slot may be claimed until the lease ends.
    pub async fn claim(&self, task: &str, due_ms: u64, now_ms: u64, lease: Duration) -> Result<Claim, Error> {
        let key = self.keys.pack(&(task,));
        // Tells a claim of this call, whose answer was lost, from another instance's.
        let token = fastrand::u64(1..);
        let claim = async |tx: &Transaction| {
            let Some(row) = tx.get(&key).await?.map(|value| Row::parse(&value)) else {
                tx.set(&key, &Row { slot_ms: due_ms, is_done: true, ..Row::default() }.to_bytes())?;
                return Ok(Claim::Done);
            };
            let mine = |row: &Row, previous_ms| {
                let Row { slot_ms, fence, until_ms, .. } = *row;
                Claim::Mine(Run { key: key.clone(), slot_ms, previous_ms, fence, until_ms })
            };
            if row.token == token {
                return Ok(mine(&row, row.slot_ms));
            }
            if row.is_done && row.slot_ms >= due_ms {
                return Ok(Claim::Done);
            }
            if !row.is_done && row.until_ms > now_ms {
                return Ok(Claim::Busy { until_ms: row.until_ms });
            }
            let claimed = Row {
                slot_ms: row.slot_ms.max(due_ms),
                fence: row.fence + 1,
                until_ms: now_ms.saturating_add(as_ms(lease)),
                token,
                is_done: false,
                failures: row.failures,
            };
            tx.set(&key, &claimed.to_bytes())?;
            Ok::<_, Error>(mine(&claimed, row.slot_ms))
        };
        self.store.run(&self.run, claim).await
    }

    /// Begins the lease of a run anew.
    ///
    /// # Errors
    /// [`RunError::Lost`], [`RunError::Store`].
    pub async fn renew(&self, run: &mut Run, now_ms: u64, lease: Duration) -> Result<(), RunError> {
        let until_ms = now_ms.saturating_add(as_ms(lease)).max(run.until_ms);
        self.change(run, |row| row.until_ms = until_ms).await?;
        run.until_ms = until_ms;
        Ok(())
    }

    /// Ends a run that succeeded.
    ///
    /// # Errors
    /// [`RunError::Lost`], [`RunError::Store`].
    pub async fn succeed(&self, run: &Run) -> Result<(), RunError> {
        self.change(run, |row| (row.is_done, row.failures) = (true, 0)).await.map(drop)
    }

    /// Ends a run that failed, and returns the pause after which the slot, or a newer one, is run:
    /// it grows with each failure in a row.
    ///
    /// # Errors
    /// [`RunError::Lost`], [`RunError::Store`].
    pub async fn fail(&self, run: &Run, now_ms: u64, backoff: Backoff) -> Result<Duration, RunError> {
        // The random half is drawn once, so that the change may be made twice.
        let seed = fastrand::u64(..);
        let pause = |failures| backoff.pause(failures, &mut fastrand::Rng::with_seed(seed));
        let before = self.row_of(run).await?;
        let failures = before.failures.saturating_add(1);
        let until_ms = now_ms.saturating_add(as_ms(pause(failures)));
        self.change(run, |row| (row.failures, row.until_ms) = (failures, until_ms)).await?;
        Ok(pause(failures))
    }

    /// Gives back a run that was not begun: another instance may claim the slot at once.
    ///
    /// # Errors
    /// [`RunError::Lost`], [`RunError::Store`].
    pub async fn release(&self, run: &Run) -> Result<(), RunError> {
        self.change(run, |row| row.until_ms = 0).await.map(drop)
    }

    async fn row_of(&self, run: &Run) -> Result<Row, RunError> {
        self.store.read(&self.run, async |snapshot| run.newest(snapshot.get(&run.key).await?)).await
    }

    async fn change(&self, run: &Run, change: impl Fn(&mut Row)) -> Result<(), RunError> {
        let write = async |tx: &Transaction| {
            let mut row = run.newest(tx.get(&run.key).await?)?;
            change(&mut row);
            Ok::<_, RunError>(tx.set(&run.key, &row.to_bytes())?)
        };
        self.store.run(&self.run, write).await
    }
}

impl Run {
    /// Makes `tx`, a transaction of the run on the same store, fail when another run of the task
    /// has begun, or begins before the commit.
    ///
    /// # Errors
    /// [`RunError::Lost`], [`RunError::Store`].
    pub async fn check_in(&self, tx: &Transaction) -> Result<(), RunError> {
        self.newest(tx.get(&self.key).await?).map(drop)
    }

    /// The row, when this is its newest run.
    fn newest(&self, value: Option<bytes::Bytes>) -> Result<Row, RunError> {
        let row = value.map(|value| Row::parse(&value)).filter(|row| row.fence == self.fence);
        row.ok_or(RunError::Lost { fence: self.fence })
    }
}
