//! The queue of commits for the committer, bounded in number and bytes.
//!
//! Invariant: an accepted request is answered: the committer takes all requests of the queue before
//! it ends, and dropping a request tells its sender.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::mutation::Mutation;
use crate::{
    error::{Error, RetryError, StoreError},
    limits, size,
};

/// A transaction's commit.
pub(crate) struct CommitRequest {
    /// The read version; `None` when nothing was read.
    pub(crate) read_version: Option<u64>,
    /// Reads that must not have changed since the read version.
    pub(crate) reads: Vec<ReadRange>,
    /// Writes, in order.
    pub(crate) mutations: Vec<Mutation>,
    /// Bytes as [`limits::TRANSACTION_BYTES_MAX`] counts them.
    pub(crate) bytes: usize,
    /// Receives the versionstamp.
    pub(crate) reply: oneshot::Sender<Result<[u8; limits::STAMP_BYTES], Error>>,
}

/// A conflict range of a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReadRange {
    /// One key.
    Key(Bytes),
    /// All keys from the first to before the second, whether they exist or not.
    Range(Bytes, Bytes),
}

impl ReadRange {
    /// Bytes that count towards [`limits::TRANSACTION_BYTES_MAX`]: both ends of the range.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Key(key) => size::key_read(key.len()),
            Self::Range(begin, end) => size::range_read(begin.len(), end.len()),
        }
    }
}

/// The state of the queue, as the committer finds it.
pub(crate) enum Arrived {
    /// Commits to write together.
    Group(Vec<CommitRequest>),
    /// No commits arrived in time.
    Idle,
    /// No more commits will arrive.
    Closed,
}

/// The queue of commits.
#[derive(Default)]
pub(crate) struct CommitQueue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    requests: VecDeque<CommitRequest>,
    bytes: usize,
    closed: bool,
}

impl CommitQueue {
    /// Queues a commit. Never blocks.
    ///
    /// # Errors
    /// [`RetryError::Busy`] when the queue is full, [`StoreError::Closed`].
    pub(crate) fn push(&self, request: CommitRequest) -> Result<(), Error> {
        let mut state = self.lock();
        if state.closed {
            return Err(StoreError::Closed.into());
        }
        let (len, bytes) = (state.requests.len(), state.bytes);
        if len >= limits::COMMIT_QUEUE_LEN_MAX || bytes + request.bytes > limits::COMMIT_QUEUE_BYTES_MAX {
            return Err(RetryError::Busy { len, bytes }.into());
        }
        state.bytes += request.bytes;
        state.requests.push_back(request);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits at most `patience` for commits, then takes those that form one group.
    pub(crate) fn take(&self, patience: Duration) -> Arrived {
        let waits = |state: &mut State| state.requests.is_empty() && !state.closed;
        let state = self.changed.wait_timeout_while(self.lock(), patience, waits);
        let (mut state, _) = state.unwrap_or_else(PoisonError::into_inner);
        if state.requests.is_empty() {
            return if state.closed { Arrived::Closed } else { Arrived::Idle };
        }
        let mut bytes = 0;
        let fits = |request: &&CommitRequest| {
            bytes += request.bytes;
            bytes <= limits::GROUP_BYTES_MAX
        };
        let len = state.requests.iter().take(limits::GROUP_LEN_MAX).take_while(fits).count().max(1);
        let group: Vec<_> = state.requests.drain(..len).collect();
        state.bytes -= group.iter().map(|request| request.bytes).sum::<usize>();
        Arrived::Group(group)
    }

    /// Accepts no more commits.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// Accepts no more commits, and drops the waiting ones.
    pub(crate) fn abandon(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.requests.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic leaves the state inconsistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(bytes: usize) -> CommitRequest {
        let (reply, _) = oneshot::channel();
        CommitRequest { read_version: None, reads: Vec::new(), mutations: Vec::new(), bytes, reply }
    }

    fn group_len(queue: &CommitQueue) -> usize {
        match queue.take(Duration::ZERO) {
            Arrived::Group(group) => group.len(),
            Arrived::Idle | Arrived::Closed => 0,
        }
    }

    #[test]
    fn a_full_queue_refuses_and_takes_again_once_a_group_is_gone() {
        let queue = CommitQueue::default();
        for _ in 0..limits::COMMIT_QUEUE_LEN_MAX {
            queue.push(request(1)).unwrap();
        }
        let refused = queue.push(request(1)).unwrap_err();
        assert!(matches!(refused, Error::Retry(RetryError::Busy { .. })), "{refused}");
        assert_eq!(group_len(&queue), limits::GROUP_LEN_MAX);
        queue.push(request(1)).unwrap();
    }

    #[test]
    fn bytes_bound_the_queue_and_the_group() {
        let queue = CommitQueue::default();
        let bytes = limits::TRANSACTION_BYTES_MAX;
        while queue.push(request(bytes)).is_ok() {}
        assert_eq!(group_len(&queue), limits::GROUP_BYTES_MAX / bytes);
        queue.push(request(bytes)).unwrap();
    }

    #[test]
    fn a_closed_queue_gives_what_is_in_it_and_takes_no_more() {
        let queue = CommitQueue::default();
        queue.push(request(1)).unwrap();
        queue.close();
        assert!(matches!(queue.push(request(1)), Err(Error::Store(StoreError::Closed))));
        assert_eq!(group_len(&queue), 1);
        assert!(matches!(queue.take(Duration::MAX), Arrived::Closed));
    }
}
