//! Taking items: `pop`, and `wait`, which waits for one.
//!
//! Owns which items a consumer gets. A pop reads a window of both lists without conflicts, then
//! reads the rows that it takes again, as reads that conflict: two consumers conflict only when
//! they take the same item.
//!
//! Invariant: when nothing was visible, the watch is of the same moment, so an item that is pushed
//! afterwards fires it.

use std::{cell::Cell, time::Duration};

use bytes::Bytes;

use super::{
    dead::Death,
    error::{QueueError, check_batch},
    handle::Queue,
    item::Lease,
    keys::{List, State},
};
use crate::{
    error::Error,
    layers::{clock::as_ms, id::Id, number},
    range::KeyValue,
    transaction::Transaction,
    watch::Watch,
};

/// What a look at the queue came to.
#[derive(Default)]
struct Taken {
    leases: Vec<Lease>,
    /// Items that became dead letters instead.
    deaths: Vec<Id>,
    /// Set when nothing was visible.
    idle: Option<Idle>,
}

struct Idle {
    changed: Watch,
    /// The next time at which an item becomes visible by itself.
    next_ms: Option<u64>,
}

struct Visible {
    rows: Vec<Row>,
    /// True when items whose time has come would be among the rows.
    looked: bool,
}

/// A row of one of the lists.
struct Row {
    list: List,
    key: Bytes,
    id: Id,
    state: State,
}

impl Queue {
    /// Leases up to `max` items, and returns at once; empty when none is visible.
    ///
    /// Items that were leased [`super::QueueOptions::attempts_max`] times become dead letters
    /// instead. After a commit whose outcome is unknown it takes other items, and those that it may
    /// have leased become visible again when their leases end.
    ///
    /// # Errors
    /// [`QueueError::Batch`], [`QueueError::Store`].
    ///
    /// # Cancel safety
    /// Items that were leased when the future was dropped become visible again when their leases
    /// end.
    pub async fn pop(&self, max: usize) -> Result<Vec<Lease>, QueueError> {
        loop {
            let taken = self.take(max, false).await?;
            if !taken.leases.is_empty() || taken.deaths.is_empty() {
                return Ok(taken.leases);
            }
        }
    }

    /// As [`Queue::pop`], but waits until an item is visible: for a push by a watch, for leases and
    /// delays by the clock.
    ///
    /// # Errors
    /// As for [`Queue::pop`]; [`crate::CallerError::TooManyWatches`].
    ///
    /// # Cancel safety
    /// As for [`Queue::pop`].
    pub async fn wait(&self, max: usize) -> Result<Vec<Lease>, QueueError> {
        loop {
            let taken = self.take(max, true).await?;
            if !taken.leases.is_empty() {
                return Ok(taken.leases);
            }
            let Some(Idle { changed, next_ms }) = taken.idle else { continue };
            let now_ms = self.options.clock.now_ms();
            let until_due = next_ms.map(|next| Duration::from_millis(next.saturating_sub(now_ms)));
            number::changed_or_due(changed, until_due).await?;
        }
    }

    async fn take(&self, max: usize, waits: bool) -> Result<Taken, QueueError> {
        check_batch(max)?;
        let attempts = Cell::new(0_u32);
        let take = async |tx: &Transaction| {
            if attempts.replace(attempts.get() + 1) > 0 {
                self.spread.collided();
            }
            self.take_in(tx, max, waits).await
        };
        // Once more after an unknown commit costs the time of a lease at worst.
        let taken = self.store.run(&self.options.run.idempotent(), take).await?;
        self.spread.succeeded();
        for id in &taken.deaths {
            tracing::warn!(%id, "an item is a dead letter: its leases ended without an answer");
        }
        Ok(taken)
    }

    async fn take_in(&self, tx: &Transaction, max: usize, waits: bool) -> Result<Taken, Error> {
        let now_ms = self.options.clock.now_ms();
        let Visible { rows, looked } = self.visible(tx, now_ms, self.spread.rows(max), !waits).await?;
        if rows.is_empty() {
            let idle = if waits { Some(self.idle(tx, now_ms, looked).await?) } else { None };
            return Ok(Taken { idle, ..Taken::default() });
        }
        let begin = self.spread.begin(rows.len(), max);
        let chosen = &rows[begin..rows.len().min(begin + max)];
        let bodies = chosen.iter().map(|row| self.keys.body(row.id));
        let keys: Vec<Vec<u8>> = chosen.iter().map(|row| row.key.to_vec()).chain(bodies).collect();
        let mut read = tx.get_all(&keys).await?.into_iter().skip(chosen.len());

        let until_ms = now_ms.saturating_add(as_ms(self.options.lease).max(1));
        let mut taken = Taken::default();
        let (mut from_ready, mut from_later) = (0, 0);
        for row in chosen {
            let body = read.next().flatten();
            match row.list {
                List::Ready => from_ready += 1,
                _ => from_later += 1,
            }
            tx.clear(&row.key)?;
            match body {
                Some(body) if row.state.failures() < self.options.attempts_max => {
                    let attempts = row.state.attempts + 1;
                    let state = State { attempts, is_leased: true, ..row.state };
                    tx.set(&self.keys.later(until_ms, row.id), &state.to_bytes())?;
                    taken.leases.push(Lease { id: row.id, body, state, until_ms });
                }
                body => {
                    let reason = if body.is_some() { Death::NO_ANSWER } else { Death::NO_BODY };
                    let death = Death { at_ms: now_ms, attempts: row.state.attempts, reason };
                    self.bury(tx, row.id, &death)?;
                    taken.deaths.push(row.id);
                }
            }
        }
        let leased = i64::try_from(taken.leases.len()).unwrap_or(i64::MAX);
        self.count(tx, List::Ready, -from_ready)?;
        self.count(tx, List::Later, leased - from_later)?;
        Ok(taken)
    }

    /// Up to `max` rows of each list that are visible at `now_ms`; items whose time has come are
    /// first. Leaves them out while it is not time to look for them, unless `accurate` and no item
    /// is ready.
    async fn visible(
        &self,
        tx: &Transaction,
        now_ms: u64,
        max: usize,
        accurate: bool,
    ) -> Result<Visible, Error> {
        let snapshot = tx.snapshot();
        let ready = self.keys.ready_from(self.low.ready()).limit(max);
        let due = self.keys.due(self.low.due_ms(now_ms), now_ms).limit(max);
        let (ready, due) = if self.low.looks(now_ms) {
            let (ready, due) = tokio::join!(snapshot.range(ready), snapshot.range(due));
            (ready?, Some(due?))
        } else {
            let ready = snapshot.range(ready).await?;
            let due = if ready.is_empty() && accurate { Some(snapshot.range(due).await?) } else { None };
            (ready, due)
        };
        let rows = |list, rows: Vec<KeyValue>| {
            rows.into_iter().filter_map(move |KeyValue { key, value }| {
                Id::of_key(&key).map(|id| Row { list, key, id, state: State::parse(&value) })
            })
        };
        let looked = due.is_some();
        if let Some(due) = &due {
            self.low.looked(now_ms, due.first().and_then(|row| self.keys.time_of(&row.key)));
        }
        let rows: Vec<Row> =
            rows(List::Later, due.unwrap_or_default()).chain(rows(List::Ready, ready)).collect();
        match rows.iter().find(|row| row.list == List::Ready) {
            Some(first) => self.low.saw_ready(first.id),
            None => self.low.saw_ready(Id::newest_at(tx.read_version().await?)),
        }
        Ok(Visible { rows, looked })
    }

    async fn idle(&self, tx: &Transaction, now_ms: u64, looked: bool) -> Result<Idle, Error> {
        let changed = tx.watch(&self.keys.changes)?;
        if !looked {
            return Ok(Idle { changed, next_ms: Some(self.low.look_at_ms()) });
        }
        let next = tx.snapshot().range(self.keys.later_after(now_ms).limit(1)).await?;
        Ok(Idle { changed, next_ms: next.first().and_then(|row| self.keys.time_of(&row.key)) })
    }
}
