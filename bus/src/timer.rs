//! The one timer of a worker: deadlines and liveness, however many requests are outstanding.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use tokio::sync::Notify;

use crate::bus::Inner;

/// When the timer goes off, and a way to bring it forward.
pub(crate) struct Timer {
    armed: Cell<Instant>,
    earlier: Notify,
}

impl Timer {
    pub(crate) fn new(now: Instant) -> Self {
        Self { armed: Cell::new(now), earlier: Notify::new() }
    }

    /// Makes sure that the timer goes off by `deadline`.
    #[inline]
    pub(crate) fn arm(&self, deadline: Instant) {
        if deadline < self.armed.get() {
            self.armed.set(deadline);
            self.earlier.notify_one();
        }
    }
}

/// Runs a worker's timer for as long as its bus lives.
pub(crate) async fn run(inner: Rc<Inner>) {
    loop {
        let at = inner.node.borrow().next_timeout();
        inner.timer.armed.set(at);
        tokio::select! {
            () = tokio::time::sleep_until(at.into()) => inner.node.borrow_mut().handle_timeout(Instant::now()),
            () = inner.timer.earlier.notified() => {}
        }
    }
}
