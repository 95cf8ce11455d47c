//! The time at which a worker's timer fires, and a way to bring it forward.

use std::cell::Cell;
use std::time::Instant;

use tokio::sync::Notify;

/// The time at which the timer fires, and a way to bring it forward.
pub(crate) struct Timer {
    pub(crate) armed: Cell<Instant>,
    pub(crate) earlier: Notify,
}

impl Timer {
    pub(crate) fn new(now: Instant) -> Self {
        Self { armed: Cell::new(now), earlier: Notify::new() }
    }

    /// Ensures that the timer fires at `deadline` or earlier.
    #[inline]
    pub(crate) fn arm(&self, deadline: Instant) {
        if deadline < self.armed.get() {
            self.armed.set(deadline);
            self.earlier.notify_one();
        }
    }
}
