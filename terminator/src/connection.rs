//! One HTTP connection: its client, its phase, and the orders it is given.
//!
//! Owns: what the connection's task shares with the sweep and with its requests; opening a
//! connection and turning it away. Does not: read or write (`serve`), frame HTTP (crate `http1`),
//! or answer requests (`forward`). Invariant: a connection that waits for its client is always in a
//! phase with a time-out, and one sweep per worker ends those that overstay; no request sets a
//! timer.

mod answering;
mod body;
mod buffers;
mod incoming;
mod io;
mod outgoing;
mod peer;
mod serve;
mod stream;
mod sweep;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;

use http1::Phase;

pub use buffers::Buffers;
pub use peer::{Peer, TrustedProxy};
pub use stream::Stream;
pub use sweep::{Connections, sweep};

use crate::access_log::Entry;
use crate::rescue::{self, Refusal};
use crate::worker::Worker;
use io::Io;
use serve::Serving;

/// What the task of a connection is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// End with the response under way, or at once.
    Drain,
    /// End: the client overstayed.
    Expire,
}

/// What the task of one connection shares with the sweep and with its requests.
#[derive(Debug)]
pub struct Connection {
    /// The worker whose connection it is.
    pub worker: Rc<Worker>,
    /// The client.
    pub peer: Peer,
    phase: Cell<Phase>,
    /// When the phase began, on the worker's coarse clock.
    since_ms: Cell<u64>,
    order: Cell<Option<Order>>,
    waker: RefCell<Option<Waker>>,
    /// The client has ended its side: it sends no more, but may still read.
    half_closed: Cell<bool>,
}

impl Connection {
    fn new(worker: Rc<Worker>, peer: Peer) -> Self {
        let now_ms = worker.connections.now_ms();
        Self {
            worker,
            peer,
            phase: Cell::new(Phase::Accepted),
            since_ms: Cell::new(now_ms),
            order: Cell::default(),
            waker: RefCell::default(),
            half_closed: Cell::default(),
        }
    }

    /// Enters a phase; its time begins. An expiry ordered for the previous phase is cancelled.
    #[inline]
    fn enter(&self, phase: Phase) {
        if self.order.get() == Some(Order::Expire) {
            self.order.set(None);
        }
        self.phase.set(phase);
        self.since_ms.set(self.worker.connections.now_ms());
    }

    fn give(&self, order: Order) {
        self.order.set(Some(order));
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Takes the order that was given, if any; a later one wakes the task.
    #[inline]
    fn take_order(&self, waker: &Waker) -> Option<Order> {
        let mut kept = self.waker.borrow_mut();
        if !kept.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
            *kept = Some(waker.clone());
        }
        self.order.take()
    }
}

/// Takes an accepted connection over: serves it on a task of its own, or turns it away.
pub fn open(worker: &Rc<Worker>, stream: Stream, peer: Peer) {
    worker.stats.connections_accepted.increment();
    let limit = worker.config.limits.connections;
    let connection = Connection::new(Rc::clone(worker), peer);
    if worker.connections.len() >= limit {
        worker.stats.connections_refused.increment();
        answer_bare(&connection, &stream, &Refusal::Connections { limit });
        return;
    }
    let connection = Rc::new(connection);
    let place = worker.connections.add(&connection);
    tokio::task::spawn_local(Serving::new(Io::new(stream, connection), place));
}

/// Answers on a connection that has no request to answer, with one write: turning a client away
/// must cost less than serving it. A client that has sent much by then may see a reset instead.
fn answer_bare(connection: &Connection, stream: &Stream, refusal: &Refusal) {
    let worker = &connection.worker;
    let mut out = Vec::new();
    let date = worker.buffers.date(worker);
    let id = rescue::write_bare(refusal, &mut http1::Connection::new(), &date, &mut out);
    if let Ok(written) = stream.try_write(&out) {
        worker.stats.bytes_out.add(written as u64);
    }
    refused_bare(connection, refusal, &id);
}

/// Counts and logs a refusal that answers no request.
fn refused_bare(connection: &Connection, refusal: &Refusal, id: &str) {
    let worker = &connection.worker;
    worker.stats.reject(refusal.reason());
    worker.stats.count_status(refusal.reason().status());
    worker.log(|| Entry::bare(connection.peer.ip, refusal.reason().status(), id, worker.id));
}
