//! One transaction on FoundationDB, through all its attempts.
//!
//! Owns the translation of calls to the client's, the age and the size above which an attempt is
//! refused before the cluster is asked (the same as for the embedded backend), and the error number
//! for `on_error`.
//!
//! Invariant: the client's `on_error` decides about every further attempt, with the number of the
//! attempt's first failure; a transaction that it refused is not used again.

use std::{
    cell::{Cell, RefCell},
    mem,
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use foundationdb::{
    FdbError, FdbResult, KeySelector as FdbSelector, RangeOption, Transaction, TransactionCommitError,
    future::{FdbSlice, FdbValues},
    options::{MutationType, StreamingMode, TransactionOption},
};
use tokio::time::Instant;

use super::{
    cluster::{Cluster, clamped, milliseconds},
    failure::{self, During, Run},
    timing::Timing,
};
use crate::{
    answer::Answer,
    backend::{Access, BackendTransaction, Reads},
    counters,
    error::{CallerError, Error, RetryError, StoreError},
    limits,
    options::RunOptions,
    range::{KeySelector, KeyValue, Range, RangeBatch},
    size,
    watch::{CommitStamp, Watch},
};

/// How much later than ours the client's timeout is, because our retry loop reports more about what
/// happened.
const GRACE: std::time::Duration = std::time::Duration::from_millis(100);

/// A transaction.
pub(crate) struct FdbTransaction {
    cluster: Arc<Cluster>,
    options: RunOptions,
    access: Access,
    attempt: Attempt,
    run: RefCell<Run>,
    /// The time of this attempt's first read.
    since: Cell<Option<Instant>>,
    wrote: Cell<bool>,
    /// The first retryable failure of this attempt.
    failure: Cell<Option<FdbError>>,
    timing: Timing,
}

enum Attempt {
    /// Open for reads and writes.
    Open(Transaction),
    /// The commit failed; `on_error` starts the next attempt.
    Failed(TransactionCommitError),
    /// The client could not create a transaction.
    Refused(FdbError),
    /// Committed or abandoned.
    Ended,
}

impl FdbTransaction {
    pub(crate) fn begin(cluster: Arc<Cluster>, options: RunOptions, access: Access) -> Self {
        let attempt = match begin(&cluster, &options, access) {
            Ok(transaction) => Attempt::Open(transaction),
            Err(error) => Attempt::Refused(error),
        };
        let run = RefCell::new(Run::new(&options));
        let (since, wrote, failure, timing) = Default::default();
        Self { cluster, options, access, attempt, run, since, wrote, failure, timing }
    }

    fn open(&self) -> Result<&Transaction, Error> {
        match &self.attempt {
            Attempt::Open(transaction) => Ok(transaction),
            Attempt::Refused(error) => Err(self.explained(*error, During::Read)),
            Attempt::Failed(_) | Attempt::Ended => panic!("an attempt is not used after its commit"),
        }
    }

    /// The client's transaction for a read, which starts the attempt's clock.
    fn reading(&self) -> Result<&Transaction, Error> {
        self.check_age()?;
        let transaction = self.open()?;
        if self.since.get().is_none() {
            self.since.set(Some(Instant::now()));
            self.timing.begin(transaction);
        }
        Ok(transaction)
    }

    /// Checked here, because the client would answer from its cache, and an idle cluster serves old
    /// versions for longer.
    fn check_age(&self) -> Result<(), Error> {
        if self.since.get().is_some_and(|since| since.elapsed() >= limits::TRANSACTION_AGE_MAX) {
            return Err(RetryError::TooOld.into());
        }
        Ok(())
    }

    /// The client's transaction for a write of `bytes`.
    fn writing(&self, bytes: usize) -> Result<&Transaction, Error> {
        self.count(bytes)?;
        self.wrote.set(true);
        self.open()
    }

    fn depends_on(&self, reads: Reads, bytes: usize) -> Result<(), Error> {
        if reads == Reads::Conflicting && self.access == Access::ReadWrite {
            self.count(bytes)?;
        }
        Ok(())
    }

    fn count(&self, bytes: usize) -> Result<(), Error> {
        let mut run = self.run.borrow_mut();
        let len = run.bytes + bytes;
        if len > limits::TRANSACTION_BYTES_MAX {
            return Err(CallerError::TransactionTooLarge { len }.into());
        }
        run.bytes = len;
        Ok(())
    }

    fn heard<T>(&self, result: FdbResult<T>) -> Result<T, Error> {
        result.map_err(|error| self.explained(error, During::Read))
    }

    fn explained(&self, error: FdbError, during: During) -> Error {
        let explained = failure::explained(error, during, &self.run.borrow());
        if matches!(explained, Error::Retry(_)) && self.failure.get().is_none() {
            self.failure.set(Some(error));
        }
        explained
    }

    /// Starts the next attempt with the transaction that `on_error` returned.
    fn go_on(&mut self, next: FdbResult<Transaction>) -> Result<(), Error> {
        let next = next.and_then(|transaction| {
            self.cluster.set_access(&transaction, self.access)?;
            Ok(transaction)
        });
        match next {
            Ok(transaction) => {
                self.attempt = Attempt::Open(transaction);
                self.failure.set(None);
                Ok(())
            }
            Err(error) => Err(match self.explained(error, During::Read) {
                Error::Retry(last) => {
                    let run = self.run.borrow();
                    let (attempts, maybe_committed) = (run.attempts - 1, run.maybe_committed);
                    StoreError::RetriesExhausted { attempts, maybe_committed, last }.into()
                }
                error => error,
            }),
        }
    }

    /// Clears the state of the failed attempt.
    fn forget(&mut self, failure: RetryError) {
        self.since.set(None);
        self.timing.forget();
        self.wrote.set(false);
        let run = self.run.get_mut();
        run.attempts += 1;
        run.bytes = 0;
        run.maybe_committed |= failure.is_maybe_committed();
        run.last = Some(failure);
    }
}

impl BackendTransaction for FdbTransaction {
    fn read_version(&self) -> Answer<'_, u64> {
        let version = self.reading().map(Transaction::get_read_version);
        answer(version, async |version| {
            let version = self.heard(version.await)?;
            Ok(u64::try_from(version).expect("a committed version is not negative"))
        })
    }

    fn get(&self, key: &[u8], reads: Reads) -> Answer<'_, Option<Bytes>> {
        let found = self.reading().and_then(|transaction| {
            self.depends_on(reads, size::key_read(key.len()))?;
            Ok(transaction.get(key, reads == Reads::Snapshot))
        });
        answer(found, async |found| {
            self.timing.end().await;
            Ok(self.heard(found.await)?.map(value))
        })
    }

    fn select(&self, selector: &KeySelector, reads: Reads) -> Answer<'_, Bytes> {
        let found = self.reading().and_then(|transaction| {
            self.depends_on(reads, size::key_read(selector.key.len()))?;
            Ok(transaction.get_key(&selector_of(selector), reads == Reads::Snapshot))
        });
        answer(found, async |found| Ok(value(self.heard(found.await)?)))
    }

    fn range(&self, range: &Range, reads: Reads) -> Answer<'_, RangeBatch> {
        let limit = range.limit.unwrap_or(usize::MAX).min(limits::BATCH_ROWS_MAX);
        if limit == 0 {
            // The client takes 0 for no limit.
            return Ok(RangeBatch { rows: Vec::new(), next: None }).into();
        }
        let options = RangeOption {
            limit: Some(limit),
            target_bytes: limits::BATCH_BYTES_MAX,
            // All rows in one answer; the other modes have smaller batches than ours.
            mode: StreamingMode::Exact,
            reverse: range.reverse,
            ..RangeOption::from((selector_of(&range.begin), selector_of(&range.end)))
        };
        let found = self.reading().and_then(|transaction| {
            self.depends_on(reads, size::range_read(range.begin.key.len(), range.end.key.len()))?;
            Ok(transaction.get_range(&options, 1, reads == Reads::Snapshot))
        });
        let range = range.clone();
        answer(found, async move |found| {
            self.timing.end().await;
            let found = self.heard(found.await)?;
            let rows = rows(&found);
            let next = match rows.last() {
                Some(last) if found.more() => range.rest(&last.key, rows.len()),
                _ => None,
            };
            Ok(RangeBatch { rows, next })
        })
    }

    fn set(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.writing(size::key_write(key.len(), value.len()))?.set(key, value);
        Ok(())
    }

    fn clear(&self, key: &[u8]) -> Result<(), Error> {
        self.writing(size::key_write(key.len(), 0))?.clear(key);
        Ok(())
    }

    fn clear_range(&self, begin: &[u8], end: &[u8]) -> Result<(), Error> {
        self.writing(size::range_write(begin.len(), end.len()))?.clear_range(begin, end);
        Ok(())
    }

    fn add(&self, key: &[u8], operand: &[u8]) -> Result<(), Error> {
        self.atomic(key, operand, MutationType::Add)
    }

    fn set_versionstamped_key(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.atomic(key, value, MutationType::SetVersionstampedKey)
    }

    fn set_versionstamped_value(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.atomic(key, value, MutationType::SetVersionstampedValue)
    }

    fn versionstamp(&self) -> CommitStamp {
        let stamp = self.open().map(Transaction::get_versionstamp);
        CommitStamp::later(async move {
            let stamp = stamp?.await.map_err(failure::of_stamp)?;
            Ok(stamp.as_ref().try_into().expect("a stamp has 10 bytes"))
        })
    }

    fn watch(&self, key: &[u8]) -> Result<Watch, Error> {
        let place = self.cluster.watches.take()?;
        let fired = self.reading()?.watch(key);
        Ok(Watch::new(async move {
            let _place = place;
            fired.await.map_err(failure::of_watch)
        }))
    }

    fn commit(&mut self) -> Answer<'_, ()> {
        if self.access == Access::ReadOnly {
            return Ok(()).into();
        }
        if self.wrote.get()
            && let Err(error) = self.check_age()
        {
            return Err(error).into();
        }
        if let Err(error) = self.open() {
            return Err(error).into();
        }
        let Attempt::Open(transaction) = mem::replace(&mut self.attempt, Attempt::Ended) else {
            unreachable!("it is open");
        };
        let (begun, wrote) = (std::time::Instant::now(), self.wrote.get());
        let committed = transaction.commit();
        Answer::later(async move {
            match committed.await {
                Ok(_) => {
                    if wrote {
                        counters::add_commit(begun.elapsed());
                    }
                    Ok(())
                }
                Err(failed) => {
                    let error = self.explained(*failed, During::Commit);
                    self.attempt = Attempt::Failed(failed);
                    Err(error)
                }
            }
        })
    }

    fn on_error(&mut self, error: RetryError) -> Answer<'_, ()> {
        let number = self.failure.take().unwrap_or_else(|| failure::number(&error));
        self.forget(error);
        let attempt = mem::replace(&mut self.attempt, Attempt::Ended);
        Answer::later(async move {
            let next = match attempt {
                Attempt::Open(transaction) => transaction.on_error(number).await,
                Attempt::Failed(failed) => failed.on_error().await,
                Attempt::Refused(_) | Attempt::Ended => begin(&self.cluster, &self.options, self.access),
            };
            self.go_on(next)
        })
    }
}

impl FdbTransaction {
    fn atomic(&self, key: &[u8], operand: &[u8], mutation: MutationType) -> Result<(), Error> {
        self.writing(size::key_write(key.len(), operand.len()))?.atomic_op(key, operand, mutation);
        Ok(())
    }
}

fn begin(cluster: &Cluster, options: &RunOptions, access: Access) -> FdbResult<Transaction> {
    let transaction = cluster.begin()?;
    // Each option is a message to the network thread. This one is always set, because the
    // database's own timeout may be earlier than ours and must not win.
    let timeout = milliseconds(options.timeout.saturating_add(GRACE));
    transaction.set_option(TransactionOption::Timeout(timeout))?;
    if options.retries_max != RunOptions::default().retries_max {
        transaction.set_option(TransactionOption::RetryLimit(clamped(options.retries_max)))?;
    }
    cluster.set_access(&transaction, access)?;
    Ok(transaction)
}

/// Applies `then` to the result, or returns why there is none.
fn answer<'a, F: 'a, T: 'a>(
    asked: Result<F, Error>,
    then: impl AsyncFnOnce(F) -> Result<T, Error> + 'a,
) -> Answer<'a, T> {
    match asked {
        Ok(asked) => Answer::later(then(asked)),
        Err(error) => Err(error).into(),
    }
}

fn selector_of(selector: &KeySelector) -> FdbSelector<'_> {
    FdbSelector::new(selector.key[..].into(), selector.or_equal, selector.offset)
}

/// Copies the value, because the client's memory behind it is that of the whole answer.
pub(super) fn value(found: FdbSlice) -> Bytes {
    Bytes::copy_from_slice(&found)
}

/// The rows in one shared allocation.
fn rows(found: &FdbValues) -> Vec<KeyValue> {
    let bytes = found.iter().map(|row| row.key().len() + row.value().len()).sum();
    let mut copied = BytesMut::with_capacity(bytes);
    for row in found {
        copied.extend_from_slice(row.key());
        copied.extend_from_slice(row.value());
    }
    let mut copied = copied.freeze();
    let lens = found.iter().map(|row| (row.key().len(), row.value().len()));
    lens.map(|(key, value)| KeyValue { key: copied.split_to(key), value: copied.split_to(value) }).collect()
}
