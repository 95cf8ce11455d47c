//! One transaction on the embedded store: its reads, its writes, and its commit.
//!
//! `resolver` decides about conflicts, `committer` writes.
//!
//! Invariant: everything that a conflicting read depended on is in `reads` when the attempt is
//! committed.

use std::{cell::RefCell, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

use super::{
    merge::{self, Bounds, Scanned},
    mutation::{Mutation, successor},
    queue::{CommitRequest, ReadRange},
    shared::Shared,
    view::View,
    watches::PendingWatch,
    write_buffer::{WriteBuffer, Written},
};
use crate::{
    answer::Answer,
    backend::{BackendTransaction, Reads},
    check::stamp_offset,
    counters::{self, Counter},
    error::{CallerError, Error, RetryError, StoreError},
    limits,
    range::{KeySelector, Range, RangeBatch},
    watch::{CommitStamp, Watch},
};

/// Values of at least this length are compared with the previous one; copying shorter values costs
/// no more.
const SHARED_BYTES_MIN: usize = 64;

/// A transaction.
pub(crate) struct EmbeddedTransaction {
    attempt: RefCell<Attempt>,
    failures: u32,
    /// Dropped after the attempt, so that the directory is unlocked after its last view is gone.
    shared: Arc<Shared>,
}

/// The state of one attempt.
#[derive(Default)]
struct Attempt {
    /// Set by the first read.
    view: Option<(Arc<View>, Instant)>,
    reads: Vec<ReadRange>,
    reads_bytes: usize,
    writes: WriteBuffer,
    /// The last value of [`SHARED_BYTES_MIN`] bytes or more that was written.
    last_value: Bytes,
    stamps: Vec<oneshot::Sender<Result<[u8; limits::STAMP_BYTES], Error>>>,
    watches: Vec<PendingWatch>,
}

impl EmbeddedTransaction {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { attempt: RefCell::default(), failures: 0, shared }
    }

    fn view(&self) -> Result<Arc<View>, Error> {
        let mut attempt = self.attempt.borrow_mut();
        if let Some((view, since)) = &attempt.view {
            if since.elapsed() >= limits::TRANSACTION_AGE_MAX {
                return Err(RetryError::TooOld.into());
            }
            return Ok(Arc::clone(view));
        }
        let view = self.shared.views.newest();
        counters::add(Counter::ReadVersions, 1);
        attempt.view = Some((Arc::clone(&view), Instant::now()));
        Ok(view)
    }

    fn value(&self, key: &[u8], reads: Reads) -> Result<Option<Bytes>, Error> {
        let view = self.view()?;
        let mut attempt = self.attempt.borrow_mut();
        let written = if attempt.writes.is_empty() {
            None
        } else {
            attempt.writes.check_readable(key, &successor(key))?;
            attempt.writes.written(key)
        };
        if let Some(Written::Value(value)) = written {
            return Ok(value);
        }
        if reads == Reads::Conflicting {
            attempt.depends_on(ReadRange::Key(Bytes::copy_from_slice(key)))?;
        }
        let value = self.shared.rows.get(&view, key)?;
        Ok(match written {
            Some(written) => written.over(value),
            None => value,
        })
    }

    fn scan(
        &self,
        begin: &Bytes,
        end: &Bytes,
        reverse: bool,
        bounds: Bounds,
        written_after: Option<u64>,
        reads: Reads,
    ) -> Result<Scanned, Error> {
        if begin >= end {
            return Ok(Scanned { rows: Vec::new(), bounded: false });
        }
        let view = self.view()?;
        let mut attempt = self.attempt.borrow_mut();
        let writes = &attempt.writes;
        let scanned = if reverse {
            let fingers = &self.shared.fingers;
            let base = fingers.scan(&view, (begin, end), written_after, bounds);
            let scanned = merge::scan(base, writes.keys(begin, end).rev(), writes, true, bounds)?;
            let last = scanned.rows.last().filter(|_| scanned.bounded).map_or(begin, |row| &row.key);
            fingers.remember(end, bounds.rows_max, last);
            scanned
        } else {
            let base = view.scan(begin, end, written_after);
            merge::scan(base, writes.keys(begin, end), writes, false, bounds)?
        };
        let (begin, end) = match scanned.rows.last().filter(|_| scanned.bounded) {
            Some(last) if reverse => (last.key.clone(), end.clone()),
            Some(last) => (begin.clone(), successor(&last.key)),
            None => (begin.clone(), end.clone()),
        };
        writes.check_readable(&begin, &end)?;
        if reads == Reads::Conflicting {
            attempt.depends_on(ReadRange::Range(begin, end))?;
        }
        Ok(scanned)
    }

    fn selected(&self, selector: &KeySelector, reads: Reads) -> Result<Bytes, Error> {
        let from = if selector.or_equal { successor(&selector.key) } else { selector.key.clone() };
        let forward = selector.offset > 0;
        let steps = if forward { selector.offset } else { 1 - selector.offset };
        let mut rows_left = usize::try_from(steps).expect("at least 1");
        let (mut begin, mut end) = match forward {
            true => (from, Bytes::from_static(&[limits::SYSTEM_KEY_PREFIX])),
            false => (Bytes::new(), from),
        };
        loop {
            let bounds = Bounds { rows_max: rows_left, bytes_max: limits::BATCH_BYTES_MAX };
            let mut scanned = self.scan(&begin, &end, !forward, bounds, None, reads)?;
            rows_left -= scanned.rows.len();
            match scanned.rows.pop() {
                Some(row) if rows_left == 0 => return Ok(row.key),
                Some(row) if scanned.bounded && forward => begin = successor(&row.key),
                Some(row) if scanned.bounded => end = row.key,
                _ if forward => return Ok(end),
                _ => return Ok(begin),
            }
        }
    }

    /// The key at which a range begins, or before which it ends, according to `selector`.
    fn bound(&self, selector: &KeySelector, reads: Reads) -> Result<Bytes, Error> {
        match (selector.offset, selector.or_equal) {
            (1, false) => Ok(selector.key.clone()),
            (1, true) => Ok(successor(&selector.key)),
            _ => self.selected(selector, reads),
        }
    }

    fn batch(&self, range: &Range, reads: Reads) -> Result<RangeBatch, Error> {
        let rows_max = range.limit.unwrap_or(usize::MAX).min(limits::BATCH_ROWS_MAX);
        let (begin, end) = (self.bound(&range.begin, reads)?, self.bound(&range.end, reads)?);
        if rows_max == 0 {
            return Ok(RangeBatch { rows: Vec::new(), next: None });
        }
        let end = end.min(Bytes::from_static(&[limits::SYSTEM_KEY_PREFIX]));
        let bounds = Bounds { rows_max, bytes_max: limits::BATCH_BYTES_MAX };
        let Range { limit, reverse, written_after, .. } = *range;
        let Scanned { rows, bounded } = self.scan(&begin, &end, reverse, bounds, written_after, reads)?;
        let next = match rows.last() {
            // The resolved end is kept, because another read could resolve it to another key.
            Some(last) if bounded => {
                let resolved = Range { limit, reverse, written_after, ..Range::between(begin, end) };
                resolved.rest(&last.key, rows.len())
            }
            _ => None,
        };
        Ok(RangeBatch { rows, next })
    }

    /// A copy of `value`, or the copy made for the previous write: an index often holds the same
    /// value as the row.
    fn value_of(&self, value: &[u8]) -> Bytes {
        let mut attempt = self.attempt.borrow_mut();
        if value.len() < SHARED_BYTES_MIN {
            return owned(value);
        }
        if attempt.last_value != value {
            attempt.last_value = owned(value);
        }
        attempt.last_value.clone()
    }

    fn write(&self, mutation: Mutation) -> Result<(), Error> {
        let mut attempt = self.attempt.borrow_mut();
        let read_version = attempt.view.as_ref().map(|(view, _)| view.version);
        attempt.writes.push(mutation, read_version)
    }

    /// Queues this attempt's writes; `None` when there are none.
    #[expect(clippy::type_complexity, reason = "one place, and a name would hide that it is a channel")]
    fn queue(
        &mut self,
    ) -> Result<Option<oneshot::Receiver<Result<[u8; limits::STAMP_BYTES], Error>>>, Error> {
        let attempt = self.attempt.get_mut();
        if attempt.writes.is_empty() {
            return Ok(None);
        }
        if attempt.view.as_ref().is_some_and(|(_, since)| since.elapsed() >= limits::TRANSACTION_AGE_MAX) {
            return Err(RetryError::TooOld.into());
        }
        let bytes = attempt.check_bytes()?;
        let (reply, replied) = oneshot::channel();
        self.shared.queue.push(CommitRequest {
            read_version: attempt.view.as_ref().map(|(view, _)| view.version),
            reads: std::mem::take(&mut attempt.reads),
            mutations: attempt.writes.take(),
            bytes,
            reply,
        })?;
        Ok(Some(replied))
    }

    /// Activates the watches and stamps of a committed attempt.
    fn committed(&mut self, stamp: Option<[u8; limits::STAMP_BYTES]>) {
        let attempt = self.attempt.take();
        for waiting in attempt.stamps {
            waiting.send(stamp.ok_or_else(|| CallerError::NoCommitVersion.into())).ok();
        }
        if !attempt.watches.is_empty() {
            let newest = |key: &[u8]| self.shared.views.newest().get(key);
            self.shared.watches.enter(attempt.watches, newest);
        }
    }
}

impl BackendTransaction for EmbeddedTransaction {
    fn read_version(&self) -> Answer<'_, u64> {
        self.view().map(|view| view.version).into()
    }

    fn get(&self, key: &[u8], reads: Reads) -> Answer<'_, Option<Bytes>> {
        self.value(key, reads).into()
    }

    fn select(&self, selector: &KeySelector, reads: Reads) -> Answer<'_, Bytes> {
        self.selected(selector, reads).into()
    }

    fn range(&self, range: &Range, reads: Reads) -> Answer<'_, RangeBatch> {
        self.batch(range, reads).into()
    }

    fn set(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.write(Mutation::Set { key: owned(key), value: self.value_of(value) })
    }

    fn clear(&self, key: &[u8]) -> Result<(), Error> {
        self.write(Mutation::Clear { key: owned(key) })
    }

    fn clear_range(&self, begin: &[u8], end: &[u8]) -> Result<(), Error> {
        self.write(Mutation::ClearRange { begin: owned(begin), end: owned(end) })
    }

    fn add(&self, key: &[u8], operand: &[u8]) -> Result<(), Error> {
        self.write(Mutation::Add { key: owned(key), operand: owned(operand) })
    }

    fn set_versionstamped_key(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let (offset, len) = stamp_offset(key)?;
        self.write(Mutation::SetStampedKey { key: owned(&key[..len]), offset, value: self.value_of(value) })
    }

    fn set_versionstamped_value(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let (offset, len) = stamp_offset(value)?;
        self.write(Mutation::SetStampedValue { key: owned(key), value: owned(&value[..len]), offset })
    }

    fn versionstamp(&self) -> CommitStamp {
        let (sender, stamp) = oneshot::channel();
        self.attempt.borrow_mut().stamps.push(sender);
        CommitStamp::new(stamp)
    }

    fn watch(&self, key: &[u8]) -> Result<Watch, Error> {
        let seen = self.value(key, Reads::Snapshot)?;
        let (pending, watch) = self.shared.watches.create(owned(key), seen)?;
        self.attempt.borrow_mut().watches.push(pending);
        Ok(watch)
    }

    fn commit(&mut self) -> Answer<'_, ()> {
        match self.queue() {
            Ok(None) => {
                self.committed(None);
                Ok(()).into()
            }
            Ok(Some(replied)) => Answer::later(async {
                let begun = std::time::Instant::now();
                let stamp = replied.await.unwrap_or_else(|_| {
                    Err(StoreError::WriteFailed { reason: "its committer ended".to_owned() }.into())
                })?;
                counters::add_commit(begun.elapsed());
                self.committed(Some(stamp));
                Ok(())
            }),
            Err(error) => Err(error).into(),
        }
    }

    fn on_error(&mut self, _error: RetryError) -> Answer<'_, ()> {
        let pause = backoff(self.failures, &mut fastrand::Rng::new());
        self.failures += 1;
        self.attempt.take();
        Answer::later(async move {
            sleep(pause).await;
            Ok(())
        })
    }
}

impl Attempt {
    fn depends_on(&mut self, read: ReadRange) -> Result<(), Error> {
        self.reads_bytes += read.bytes();
        self.reads.push(read);
        self.check_bytes().map(drop)
    }

    fn check_bytes(&self) -> Result<usize, Error> {
        let len = self.reads_bytes + self.writes.bytes();
        if len > limits::TRANSACTION_BYTES_MAX {
            return Err(CallerError::TransactionTooLarge { len }.into());
        }
        Ok(len)
    }
}

fn owned(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

/// Exponential back-off with full jitter, so that transactions that collided do not collide again
/// (Brooker, "Exponential Backoff And Jitter", 2015).
fn backoff(failures: u32, rng: &mut fastrand::Rng) -> Duration {
    let ceiling = limits::BACKOFF_FIRST.saturating_mul(1 << failures.min(16)).min(limits::BACKOFF_MAX);
    ceiling.mul_f64(rng.f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_are_spread() {
        let mut rng = fastrand::Rng::with_seed(1);
        let longest =
            |failures, rng: &mut fastrand::Rng| (0..1000).map(|_| backoff(failures, rng)).max().unwrap();
        assert!(longest(0, &mut rng) <= limits::BACKOFF_FIRST);
        assert!(longest(3, &mut rng) > 4 * limits::BACKOFF_FIRST);
        assert!(longest(u32::MAX, &mut rng) <= limits::BACKOFF_MAX);
    }
}
