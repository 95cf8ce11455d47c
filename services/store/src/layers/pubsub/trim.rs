//! Which messages a topic forgets.
//!
//! Owns the rules and the row up to which messages are trimmed. Invariant: messages are removed
//! from the oldest on without holes, and the row is written in the same transaction, so a
//! subscriber sees every gap.

use std::time::Duration;

use super::{
    keys::{TIME_BYTES, parse},
    topic::{PubsubError, Topic, trimmed},
};
use crate::{
    KeyValue,
    error::Error,
    layers::{clock::as_ms, id::Id, number},
    transaction::Transaction,
};

/// What a topic keeps. A message that every subscriber acknowledged is kept for `acked_for`; others
/// until they are too old, or until there is too much. Without a subscriber the last two decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// How long a message is kept that all subscribers acknowledged, for those that subscribe later
    /// from the oldest message. Default 0.
    pub acked_for: Duration,
    /// How long a message is kept at most, also for a subscriber that has not read it. Default 7
    /// days.
    pub age_max: Duration,
    /// Bytes of bodies kept at most, also for a subscriber that has not read them. Default 1 GiB.
    pub bytes_max: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { acked_for: Duration::ZERO, age_max: Duration::from_secs(7 * 24 * 60 * 60), bytes_max: 1 << 30 }
    }
}

/// What a call of [`Topic::trim`] removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trimmed {
    /// Messages removed.
    pub messages: u64,
    /// Of them those that a subscriber had not acknowledged: it will see a gap.
    pub unread: u64,
    /// Bytes of the bodies removed.
    pub bytes: u64,
}

/// The messages of one step.
struct Step {
    removed: Trimmed,
    /// False when messages that may be removed are left.
    is_last: bool,
}

impl Topic {
    /// Removes the messages that `retention` does not keep, in as many transactions as it takes.
    /// Calls at the same time share the work.
    ///
    /// # Errors
    /// [`PubsubError::Store`]; what was removed before stays removed.
    ///
    /// # Cancel safety
    /// Dropping the future ends the trimming between two of its steps.
    pub async fn trim(&self, retention: &Retention) -> Result<Trimmed, PubsubError> {
        let mut all = Trimmed::default();
        loop {
            let step = self.store.run(&self.run, async |tx| self.trim_in(tx, retention).await).await?;
            all.messages += step.removed.messages;
            all.unread += step.removed.unread;
            all.bytes += step.removed.bytes;
            if step.is_last {
                return Ok(all);
            }
        }
    }

    async fn trim_in(&self, tx: &Transaction, retention: &Retention) -> Result<Step, Error> {
        let keys = &self.keys;
        // Conflicts with another trimming, and with nothing else.
        let before = trimmed(tx.get(&keys.trimmed).await?.as_deref());
        let snapshot = tx.snapshot();
        let log = keys.after(before);
        let (cursors, total, batch) = tokio::join!(
            snapshot.range(keys.all_cursors()),
            snapshot.get(&keys.bytes),
            snapshot.range_batch(&log)
        );
        let (total, batch) = (number::read(total?.as_ref()), batch?);
        let slowest = cursors?.iter().map(|row| Id::of_value(&row.value).unwrap_or(Id::FIRST)).min();

        let now_ms = self.clock.now_ms();
        let mut removed = Trimmed::default();
        let mut last = None;
        for KeyValue { key, value } in batch.rows.iter().cloned() {
            let (Some(id), bytes) = (Id::of_key(&key), value.len().saturating_sub(TIME_BYTES) as u64) else {
                continue;
            };
            let age_ms = now_ms.saturating_sub(parse(value).0);
            let is_acked = slowest.is_some_and(|slowest| id <= slowest);
            let goes = (is_acked && age_ms >= as_ms(retention.acked_for))
                || age_ms > as_ms(retention.age_max)
                || total.saturating_sub(removed.bytes) > retention.bytes_max;
            if !goes {
                break;
            }
            removed.messages += 1;
            removed.unread += u64::from(slowest.is_some_and(|slowest| id > slowest));
            removed.bytes += bytes;
            last = Some((id, key));
        }
        let Some((id, key)) = last else { return Ok(Step { removed, is_last: true }) };
        let end = [&key[..], &[0]].concat();
        tx.clear_range(&keys.log_begin(), &end)?;
        tx.set(&keys.trimmed, id.as_bytes())?;
        number::add(tx, &keys.messages, -signed(removed.messages))?;
        number::add(tx, &keys.bytes, -signed(removed.bytes))?;
        if removed.unread > 0 {
            // Subscribers that wait learn of the gap.
            number::add(tx, &keys.changes, 1)?;
        }
        let is_whole_batch = removed.messages == batch.rows.len() as u64;
        Ok(Step { removed, is_last: !is_whole_batch || batch.next.is_none() })
    }
}

/// A step has at most [`crate::limits::BATCH_ROWS_MAX`] rows of at most
/// [`crate::limits::VALUE_BYTES_MAX`] bytes.
fn signed(number: u64) -> i64 {
    i64::try_from(number).expect("a batch is smaller than 2^63 bytes")
}
