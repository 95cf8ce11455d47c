//! Tracks whether a worker has so few outstanding requests that busy polling pays.

use std::cell::Cell;
use std::future::poll_fn;
use std::mem;
use std::ops::RangeInclusive;
use std::task::{Poll, Waker};

/// Numbers of outstanding requests with which busy polling pays.
pub(crate) const FEW: RangeInclusive<usize> = 4..=24;

/// The busy-polling state of one worker.
#[derive(Default)]
pub(crate) struct BusyPoll {
    /// The waker of the task while it waits for requests.
    asleep: Cell<Option<Waker>>,
}

/// Figures that change with every request and reply.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) sent: u64,
    pub(crate) outstanding: usize,
}

impl BusyPoll {
    /// Records that a request was sent and that `outstanding` requests now wait for replies.
    #[inline]
    pub(crate) fn sent(&self, outstanding: usize) {
        if FEW.contains(&outstanding)
            && let Some(waker) = self.asleep.take()
        {
            waker.wake();
        }
    }

    /// Waits for the next call of [`BusyPoll::sent`].
    pub(crate) async fn until_sent(&self) {
        let mut was_woken = false;
        poll_fn(|cx| {
            if mem::replace(&mut was_woken, true) {
                return Poll::Ready(());
            }
            self.asleep.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}
