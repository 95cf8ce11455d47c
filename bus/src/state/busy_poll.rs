//! Whether a worker has so few requests outstanding that waiting awake is worth it.

use std::cell::Cell;
use std::future::poll_fn;
use std::mem;
use std::ops::RangeInclusive;
use std::task::{Poll, Waker};

/// So many requests outstanding are worth it.
pub(crate) const FEW: RangeInclusive<usize> = 4..=24;

/// The waiting of one worker.
#[derive(Default)]
pub(crate) struct BusyPoll {
    /// Set while the task has nothing to wait for.
    asleep: Cell<Option<Waker>>,
}

/// What changes with a request and with a reply.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) sent: u64,
    pub(crate) outstanding: usize,
}

impl BusyPoll {
    /// A request was sent, and `outstanding` wait for their replies.
    #[inline]
    pub(crate) fn sent(&self, outstanding: usize) {
        if FEW.contains(&outstanding)
            && let Some(waker) = self.asleep.take()
        {
            waker.wake();
        }
    }

    /// Waits for [`BusyPoll::sent`].
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
