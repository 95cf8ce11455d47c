//! Waiting awake: while a few replies are outstanding, the worker looks at its sockets instead of going to sleep.
//!
//! To wake somebody costs a peer a system call, and the one who is woken some microseconds; many requests share that, one
//! or two leave the processor idle anyway. Invariant: between two looks whoever else has work on this core goes first.
//! docs/adr/0017 has the numbers.

use std::cell::Cell;
use std::future::poll_fn;
use std::mem;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use tokio::task;

use crate::bus::Inner;

/// So many requests outstanding are worth it.
const FEW: RangeInclusive<usize> = 4..=24;

/// The waiting of one worker.
#[derive(Default)]
pub(crate) struct BusyPoll {
    /// Set while [`run`] has nothing to wait for.
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

    async fn until_sent(&self) {
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

/// Looks at the sockets for `patience` after a request that was sent, and after what else is sent and replied meanwhile.
pub(crate) async fn run(inner: Rc<Inner>, patience: Duration) {
    loop {
        inner.busy_poll.until_sent().await;
        let (mut seen, mut until) = (inner.traffic(), Instant::now() + patience);
        while FEW.contains(&seen.outstanding) {
            thread::yield_now();
            task::yield_now().await;
            inner.node.borrow_mut().counters.busy_polls += 1;
            let (traffic, now) = (inner.traffic(), Instant::now());
            if traffic != seen {
                (seen, until) = (traffic, now + patience);
            } else if now >= until {
                break;
            }
        }
    }
}
