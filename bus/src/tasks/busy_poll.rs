//! Busy polling: while a few replies are outstanding, the worker polls its sockets rather than
//! sleeping.
//!
//! Waking a sleeping worker costs the peer a system call and the worker some microseconds. With
//! many requests one wake-up serves many of them; with one or two the processor is idle anyway.
//! Invariant: between two polls the thread yields to other threads on its core. docs/adr/0017 has
//! the measurements.

use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::task;

use crate::state::busy_poll::FEW;
use crate::state::inner::Inner;

/// Polls the sockets for `patience` after each sent request, and again after every change of the
/// traffic.
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
