//! One transaction as a closure sees it.
//!
//! Owns the record of the first retryable failure. `check` has the checks of keys and values,
//! `together` has reads that are sent at once, and [`crate::Store::run`] retries.
//!
//! Invariant: a backend receives nothing that FoundationDB would refuse for its size or its key.

mod together;

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
};

use bytes::Bytes;
use foundationdb_tuple::Versionstamp;

use crate::{
    backend::{BackendTransaction, Reads},
    check::{check_bound, check_key, check_key_len, check_selector, check_value, stamp_offset},
    counters::{self, Counter, Last},
    error::{CallerError, Error, RetryError},
    range::{KeySelector, KeyValue, Range, RangeBatch},
    watch::{CommitStamp, Watch},
};

/// A transaction in progress. Reads see one moment and the transaction's own writes; writes become
/// visible all at once, when [`crate::Store::run`] commits them after the closure.
///
/// Belongs to one thread, like the worker that runs it.
///
/// # Errors
/// All methods return [`RetryError::TooOld`] once the transaction is older than
/// [`crate::limits::TRANSACTION_AGE_MAX`], and [`CallerError`]s for keys and values outside
/// [`crate::limits`]. A closure passes them on with `?`.
///
/// # Cancel safety
/// Dropping a future of a method loses nothing; dropping that of [`crate::Store::run`] before the
/// commit writes nothing.
pub struct Transaction {
    backend: Box<dyn BackendTransaction>,
    /// The first retryable failure of this attempt. The closure may hide it in an error of its own,
    /// and the retry loop still needs it.
    failure: RefCell<Option<RetryError>>,
    /// True when this attempt read what a versionstamp will decide: FoundationDB does not commit it
    /// then.
    unreadable: Cell<bool>,
    /// Stamps that [`Transaction::next_stamp`] gave in this attempt.
    stamps: Cell<u32>,
}

impl Transaction {
    pub(crate) fn new(backend: Box<dyn BackendTransaction>) -> Self {
        Self { backend, failure: RefCell::new(None), unreadable: Cell::new(false), stamps: Cell::new(0) }
    }

    /// Reads that are not checked for conflicts. They still see this transaction's own writes.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot<'_> {
        Snapshot { transaction: self }
    }

    /// The version that this transaction reads at: it sees all commits up to this version, and none
    /// after it.
    ///
    /// # Errors
    /// See [`Transaction`].
    pub async fn read_version(&self) -> Result<u64, Error> {
        let version = self.note(self.backend.read_version().await)?;
        counters::succeeded(Last::ReadVersion);
        Ok(version)
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// See [`Transaction`].
    pub async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.value(key, Reads::Conflicting).await
    }

    /// The key that `selector` names: empty before the first key, `[0xff]` after the last.
    ///
    /// # Errors
    /// See [`Transaction`].
    pub async fn select(&self, selector: &KeySelector) -> Result<Bytes, Error> {
        self.selected(selector, Reads::Conflicting).await
    }

    /// All rows of `range`, up to its limit. Use [`Transaction::rows`] when they may not fit into
    /// memory.
    ///
    /// # Errors
    /// See [`Transaction`].
    pub async fn range(&self, range: Range) -> Result<Vec<KeyValue>, Error> {
        self.rows(range).collect().await
    }

    /// The first batch of `range`, and the rest of it.
    ///
    /// # Errors
    /// See [`Transaction`].
    pub async fn range_batch(&self, range: &Range) -> Result<RangeBatch, Error> {
        self.batch(range, Reads::Conflicting).await
    }

    /// The rows of `range`, one by one.
    pub fn rows(&self, range: Range) -> Rows<'_> {
        Rows::new(self, range, Reads::Conflicting)
    }

    /// Sets `key` to `value`.
    ///
    /// # Errors
    /// See [`Transaction`].
    pub fn set(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        check_key(key)?;
        check_value(value)?;
        self.backend.set(key, value)
    }

    /// Removes `key` if it exists.
    ///
    /// # Errors
    /// See [`Transaction`].
    pub fn clear(&self, key: &[u8]) -> Result<(), Error> {
        check_key(key)?;
        self.backend.clear(key)
    }

    /// Removes all keys from `begin` to before `end`.
    ///
    /// # Errors
    /// See [`Transaction`].
    pub fn clear_range(&self, begin: &[u8], end: &[u8]) -> Result<(), Error> {
        check_bound(begin)?;
        check_bound(end)?;
        if begin > end {
            return Err(CallerError::InvertedRange.into());
        }
        self.backend.clear_range(begin, end)
    }

    /// Adds `operand` to the value without reading it, so concurrent adds do not conflict.
    ///
    /// Both are little-endian integers of the operand's length: a shorter value is extended with
    /// zeros, a longer one is cut, a missing one is zero; the sum wraps.
    ///
    /// # Errors
    /// See [`Transaction`].
    pub fn add(&self, key: &[u8], operand: &[u8]) -> Result<(), Error> {
        check_key(key)?;
        check_value(operand)?;
        self.backend.add(key, operand)
    }

    /// Sets a key into which the commit writes its versionstamp. `key` comes from
    /// [`crate::Subspace::pack_with_versionstamp`]: its last 4 bytes are the little-endian offset
    /// of the 10-byte stamp; they count towards [`crate::limits::KEY_BYTES_MAX`], but are not part
    /// of the key.
    ///
    /// # Errors
    /// See [`Transaction`]; [`CallerError::StampOffset`] when the stamp does not fit.
    pub fn set_versionstamped_key(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        check_key(&key[..stamp_offset(key)?.1])?;
        check_key_len(key)?;
        check_value(value)?;
        self.backend.set_versionstamped_key(key, value)
    }

    /// Sets a value into which the commit writes its versionstamp; the last 4 bytes of `value` are
    /// the offset, as in [`Transaction::set_versionstamped_key`].
    ///
    /// # Errors
    /// See [`Transaction`]; [`CallerError::StampOffset`] when the stamp does not fit.
    pub fn set_versionstamped_value(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        check_key(key)?;
        stamp_offset(value)?;
        check_value(value)?;
        self.backend.set_versionstamped_value(key, value)
    }

    /// The versionstamp of this attempt's commit. Return it from the closure and await it after
    /// `run`.
    pub fn versionstamp(&self) -> CommitStamp {
        self.backend.versionstamp()
    }

    /// An incomplete versionstamp that differs from all others of this method in this transaction,
    /// for layers that do not know what else the transaction writes. Its last 2 bytes count the
    /// calls, so stamps sort in the order of the calls.
    ///
    /// # Errors
    /// [`CallerError::TooManyStamps`] above [`crate::limits::STAMPS_MAX`].
    pub fn next_stamp(&self) -> Result<Versionstamp, Error> {
        let order = u16::try_from(self.stamps.get()).map_err(|_| CallerError::TooManyStamps)?;
        self.stamps.set(self.stamps.get() + 1);
        Ok(Versionstamp::incomplete(order))
    }

    /// Waits until the value of `key` differs from its value in this transaction. Return it from
    /// the closure and await it after `run`. On the embedded backend it never conflicts; on
    /// FoundationDB it counts as a read of the key, so a transaction that also writes runs again
    /// when the key changed in between.
    ///
    /// # Errors
    /// See [`Transaction`]; [`CallerError::TooManyWatches`] above [`crate::limits::WATCHES_MAX`].
    pub fn watch(&self, key: &[u8]) -> Result<Watch, Error> {
        check_key(key)?;
        self.note(self.backend.watch(key))
    }

    pub(crate) async fn batch(&self, range: &Range, reads: Reads) -> Result<RangeBatch, Error> {
        check_selector(&range.begin)?;
        check_selector(&range.end)?;
        let batch = self.note(self.backend.range(range, reads).await);
        let rows = batch.as_ref().map_or(&[][..], |batch| &batch.rows[..]);
        counters::add_read(Counter::Ranges, rows.iter().map(|row| row.key.len() + row.value.len()).sum());
        batch
    }

    pub(crate) async fn commit(&mut self) -> Result<(), Error> {
        if self.unreadable.get() {
            return Err(CallerError::AccessedUnreadable.into());
        }
        self.backend.commit().await
    }

    pub(crate) async fn on_error(&mut self, error: RetryError) -> Result<(), Error> {
        self.failure.replace(None);
        self.unreadable.set(false);
        self.stamps.set(0);
        self.backend.on_error(error).await
    }

    pub(crate) fn take_failure(&self) -> Option<RetryError> {
        self.failure.take()
    }

    async fn value(&self, key: &[u8], reads: Reads) -> Result<Option<Bytes>, Error> {
        check_key(key)?;
        let found = self.note(self.backend.get(key, reads).await);
        let bytes = found.as_ref().ok().and_then(Option::as_ref).map_or(0, Bytes::len);
        counters::add_read(Counter::Reads, bytes);
        found
    }

    async fn selected(&self, selector: &KeySelector, reads: Reads) -> Result<Bytes, Error> {
        check_selector(selector)?;
        counters::add(Counter::Reads, 1);
        self.note(self.backend.select(selector, reads).await)
    }

    fn note<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        match &result {
            Err(Error::Retry(error)) => {
                self.failure.borrow_mut().get_or_insert_with(|| error.clone());
            }
            Err(Error::Caller(CallerError::AccessedUnreadable)) => self.unreadable.set(true),
            _ => {}
        }
        result
    }
}

/// Reads of a transaction that are not checked for conflicts. All see the same moment.
///
/// # Errors
/// As for [`Transaction`].
#[derive(Clone, Copy)]
pub struct Snapshot<'t> {
    transaction: &'t Transaction,
}

impl<'t> Snapshot<'t> {
    /// As [`Transaction::read_version`].
    ///
    /// # Errors
    /// See [`Transaction`].
    pub async fn read_version(&self) -> Result<u64, Error> {
        self.transaction.read_version().await
    }

    /// As [`Transaction::get`].
    ///
    /// # Errors
    /// See [`Transaction`].
    pub async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.transaction.value(key, Reads::Snapshot).await
    }

    /// As [`Transaction::select`].
    ///
    /// # Errors
    /// See [`Transaction`].
    pub async fn select(&self, selector: &KeySelector) -> Result<Bytes, Error> {
        self.transaction.selected(selector, Reads::Snapshot).await
    }

    /// As [`Transaction::range`].
    ///
    /// # Errors
    /// See [`Transaction`].
    pub async fn range(&self, range: Range) -> Result<Vec<KeyValue>, Error> {
        self.rows(range).collect().await
    }

    /// As [`Transaction::range_batch`].
    ///
    /// # Errors
    /// See [`Transaction`].
    pub async fn range_batch(&self, range: &Range) -> Result<RangeBatch, Error> {
        self.transaction.batch(range, Reads::Snapshot).await
    }

    /// As [`Transaction::rows`].
    pub fn rows(&self, range: Range) -> Rows<'t> {
        Rows::new(self.transaction, range, Reads::Snapshot)
    }
}

/// The rows of a range, read batch by batch.
///
/// # Cancel safety
/// Dropping the future of [`Rows::next`] loses no row.
pub struct Rows<'t> {
    transaction: &'t Transaction,
    reads: Reads,
    next: Option<Range>,
    rows: VecDeque<KeyValue>,
    batches: usize,
}

impl<'t> Rows<'t> {
    pub(crate) fn new(transaction: &'t Transaction, range: Range, reads: Reads) -> Self {
        Self { transaction, reads, next: Some(range), rows: VecDeque::new(), batches: 0 }
    }

    /// The next row, or `None` at the end.
    ///
    /// # Errors
    /// As for [`Transaction::range_batch`].
    pub async fn next(&mut self) -> Result<Option<KeyValue>, Error> {
        loop {
            if let Some(row) = self.rows.pop_front() {
                return Ok(Some(row));
            }
            let Some(range) = &self.next else { return Ok(None) };
            if self.batches > 0 {
                // A batch that is ready never suspends, so a long range would block the worker.
                tokio::task::yield_now().await;
            }
            let batch = self.transaction.batch(range, self.reads).await?;
            self.batches += 1;
            self.next = batch.next;
            self.rows = batch.rows.into();
        }
    }

    /// All remaining rows.
    ///
    /// # Errors
    /// As for [`Transaction::range_batch`].
    pub async fn collect(mut self) -> Result<Vec<KeyValue>, Error> {
        let mut rows = Vec::new();
        while let Some(row) = self.next().await? {
            rows.push(row);
            rows.extend(self.rows.drain(..));
        }
        Ok(rows)
    }
}
