//! Waiting awake: while a few replies are outstanding, the worker looks at its sockets instead of
//! going to sleep.
//!
//! To wake somebody costs a peer a system call, and the one who is woken some microseconds; many
//! requests share that, one or two leave the processor idle anyway. Invariant: between two looks
//! whoever else has work on this core goes first. docs/adr/0017 has the numbers.

use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::task;

use crate::state::busy_poll::FEW;
use crate::state::inner::Inner;

/// Looks at the sockets for `patience` after a request that was sent, and after what else is sent
/// and replied meanwhile.
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
