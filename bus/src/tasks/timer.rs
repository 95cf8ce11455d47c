//! The timer of a worker. One timer serves deadlines and liveness, however many requests are
//! outstanding.

use std::rc::Rc;
use std::time::Instant;

use crate::state::inner::Inner;

/// Runs a worker's timer for as long as its bus exists.
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
