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
        let rows = self.visible(tx, now_ms, self.spread.rows(max)).await?;
        if rows.is_empty() {
            let idle = if waits { Some(self.idle(tx).await?) } else { None };
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

    /// Up to `max` rows of each list that are visible at `now_ms`. Items whose time has come are
    /// first.
    async fn visible(&self, tx: &Transaction, now_ms: u64, max: usize) -> Result<Vec<Row>, Error> {
        let ranges = [self.keys.due(now_ms).limit(max), self.keys.all_ready().limit(max)];
        let lists = tx.snapshot().range_all(&ranges).await?;
        let row = |list| {
            move |KeyValue { key, value }: KeyValue| {
                Id::of_key(&key).map(|id| Row { list, key, id, state: State::parse(&value) })
            }
        };
        let lists = lists.into_iter().zip([List::Later, List::Ready]);
        Ok(lists.flat_map(|(rows, list)| rows.into_iter().filter_map(row(list))).collect())
    }

    async fn idle(&self, tx: &Transaction) -> Result<Idle, Error> {
        let next = tx.snapshot().range(self.keys.all_later().limit(1)).await?;
        let next_ms = next.first().and_then(|row| self.keys.time_of(&row.key));
        Ok(Idle { changed: tx.watch(&self.keys.changes)?, next_ms })
    }
}
