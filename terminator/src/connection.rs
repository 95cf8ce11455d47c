//! One HTTP connection, as its requests see it.
//!
//! Owns the data that the connection's task shares with its requests: the worker, the peer, and
//! what the worker watches of it. Leaves the task, which reads and writes, to `serve`.

mod peer;

use std::rc::Rc;
use std::task::Waker;

use http1::Phase;

use crate::access_log::Record;
use crate::rescue::Refusal;
use crate::worker::{Order, Watched, Worker};
pub use peer::Peer;

/// What the task of one connection shares with its requests.
#[derive(Debug)]
pub struct Connection {
    /// The worker that serves it.
    pub worker: Rc<Worker>,
    /// The peer.
    pub peer: Peer,
    watched: Rc<Watched>,
}

impl Connection {
    /// A connection that was just accepted.
    pub(crate) fn new(worker: Rc<Worker>, peer: Peer) -> Self {
        let watched = worker.connections.accepted();
        Self { worker, peer, watched }
    }

    /// Adds the connection to the worker's table; returns its key there.
    pub(crate) fn register(&self) -> usize {
        self.worker.connections.add(&self.watched)
    }

    /// The current phase.
    #[inline]
    pub(crate) fn phase(&self) -> Phase {
        self.watched.phase()
    }

    /// Enters a phase, whose time-out starts now. An expiry ordered for the previous phase is
    /// cancelled.
    #[inline]
    pub(crate) fn enter(&self, phase: Phase) {
        self.watched.enter(phase, self.worker.connections.now_ms());
    }

    /// Takes the pending order, if any; the next order wakes `waker`.
    #[inline]
    pub(crate) fn take_order(&self, waker: &Waker) -> Option<Order> {
        self.watched.take_order(waker)
    }

    /// True when the client has shut down its sending side. It may still read.
    #[inline]
    pub(crate) fn is_half_closed(&self) -> bool {
        self.watched.is_half_closed()
    }

    /// Notes that the client has shut down its sending side; true when that was known already.
    pub(crate) fn set_half_closed(&self) -> bool {
        self.watched.set_half_closed()
    }

    /// Counts and logs a refusal that answers no request; `id` is the response's request id.
    pub(crate) fn refused(&self, refusal: &Refusal, id: &str) {
        let (worker, status) = (&self.worker, refusal.reason().status());
        worker.stats.reject(refusal.reason());
        worker.stats.count_status(status);
        worker.log(|| Record::without_request(self.peer.ip, status, id, worker.id));
    }
}
