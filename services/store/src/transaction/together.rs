//! Independent reads of one transaction that are sent at once.
//!
//! On FoundationDB each read is a round trip, so reads that do not depend on each other should not
//! wait for each other. On the embedded store they are answered one after the other.
//!
//! Invariant: results are in the order of the keys or ranges that were asked for.

use bytes::Bytes;

use super::{Rows, Snapshot, Transaction};
use crate::{
    backend::Reads,
    check::{check_key, check_selector},
    counters::{self, Counter},
    error::Error,
    limits,
    range::{KeyValue, Range},
};

impl Transaction {
    /// The values of `keys`, in their order, read at once: one round trip on FoundationDB.
    ///
    /// # Errors
    /// See [`Transaction`]; the first one in the order of the keys.
    pub async fn get_all(&self, keys: &[impl AsRef<[u8]>]) -> Result<Vec<Option<Bytes>>, Error> {
        self.values(keys, Reads::Conflicting).await
    }

    /// All rows of each of `ranges`, in their order; their first batches are read at once.
    ///
    /// # Errors
    /// See [`Transaction`]; the first one in the order of the ranges.
    pub async fn range_all(&self, ranges: &[Range]) -> Result<Vec<Vec<KeyValue>>, Error> {
        self.rows_of_all(ranges, Reads::Conflicting).await
    }

    async fn values(&self, keys: &[impl AsRef<[u8]>], reads: Reads) -> Result<Vec<Option<Bytes>>, Error> {
        let mut values = Vec::with_capacity(keys.len());
        // In parts, because answers that are ready never suspend.
        for part in keys.chunks(limits::BATCH_ROWS_MAX) {
            if !values.is_empty() {
                tokio::task::yield_now().await;
            }
            part.iter().try_for_each(|key| check_key(key.as_ref()))?;
            let answers: Vec<_> = part.iter().map(|key| self.backend.get(key.as_ref(), reads)).collect();
            for answer in answers {
                let value = self.note(answer.await)?;
                counters::add_read(Counter::Reads, value.as_ref().map_or(0, Bytes::len));
                values.push(value);
            }
        }
        Ok(values)
    }

    async fn rows_of_all(&self, ranges: &[Range], reads: Reads) -> Result<Vec<Vec<KeyValue>>, Error> {
        for range in ranges {
            check_selector(&range.begin)?;
            check_selector(&range.end)?;
        }
        let answers: Vec<_> = ranges.iter().map(|range| self.backend.range(range, reads)).collect();
        let mut all = Vec::with_capacity(ranges.len());
        for answer in answers {
            let batch = self.note(answer.await)?;
            let mut rows = batch.rows;
            counters::add_read(Counter::Ranges, rows.iter().map(|row| row.key.len() + row.value.len()).sum());
            if let Some(next) = batch.next {
                rows.extend(Rows::new(self, next, reads).collect().await?);
            }
            all.push(rows);
        }
        Ok(all)
    }
}

impl Snapshot<'_> {
    /// As [`Transaction::get_all`].
    ///
    /// # Errors
    /// See [`Transaction`].
    pub async fn get_all(&self, keys: &[impl AsRef<[u8]>]) -> Result<Vec<Option<Bytes>>, Error> {
        self.transaction.values(keys, Reads::Snapshot).await
    }

    /// As [`Transaction::range_all`].
    ///
    /// # Errors
    /// See [`Transaction`].
    pub async fn range_all(&self, ranges: &[Range]) -> Result<Vec<Vec<KeyValue>>, Error> {
        self.transaction.rows_of_all(ranges, Reads::Snapshot).await
    }
}
