//! One HTTP connection: its state and its time-outs.
//!
//! A request lies in its task's `slot`, never in hyper: `serve::work` goes from the plain road to hyper, from there to waiting without
//! it, and to a new hyper, which reads a head made up for it (`replay`) and writes the answer that was kept.
//!
//! Owns: the phases of a connection, opening it and turning it away. Does not: let hyper serve it (`serve`), nor answer
//! requests (`forward`).
//! Invariant: a connection that waits for its client is always in a phase with a time-out, and one sweep per worker ends
//! those that overstay; no request sets a timer.

mod framing;
mod plain;
mod replay;
mod serve;
mod slot;
mod stream;
mod sweep;
mod tap;

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

pub use plain::Buffers;
pub use replay::Replay;
pub use stream::Stream;
pub use sweep::{Connections, sweep};

use crate::limits::LATE;
use crate::rescue::{self, Refusal};
use crate::worker::Worker;
use serve::serve;
use tap::Tap;

/// The other end.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The address; `None` on a Unix socket.
    pub ip: Option<IpAddr>,
    /// The address as `x-forwarded-for` has it; empty on a Unix socket.
    pub text: Box<str>,
}

impl Peer {
    /// A client on TCP.
    #[must_use]
    pub fn tcp(address: SocketAddr) -> Self {
        let ip = address.ip().to_canonical();
        Self { ip: Some(ip), text: ip.to_string().into() }
    }

    /// A client on a Unix socket: it has no address.
    #[must_use]
    pub fn unix() -> Self {
        Self { ip: None, text: "".into() }
    }
}

/// What a connection waits for; decides its time-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The client, for a head; no byte of it has come since the connection was accepted.
    Accepted,
    /// The client, for the rest of a head.
    Head,
    /// The client, for a body.
    Body,
    /// The service; the request's deadline ends that.
    Service,
    /// The client, to take the response.
    Response,
    /// The service, for more of a response of which all that came is written; the deadline of its parts ends that.
    Parts,
    /// The client, for a further request.
    Idle,
    /// The client, to see a response that left part of its request unread.
    Linger,
}

/// What the task of a connection is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// End with the response under way, or at once.
    Drain,
    /// End: the client overstayed.
    Expire,
    /// Give back the memory of a connection at work.
    Rest,
}

/// The state of one connection, shared by its task, its socket, its requests and the sweep.
#[derive(Debug)]
pub struct Connection {
    /// Whose it is.
    pub worker: Rc<Worker>,
    /// The client.
    pub peer: Peer,
    phase: Cell<Phase>,
    /// When the phase began, on the worker's coarse clock.
    since_ms: Cell<u64>,
    order: Cell<Option<Order>>,
    waker: RefCell<Option<Waker>>,
    /// The body's time is up; its request answers 408.
    body_expired: Cell<bool>,
    /// Heads that have been handed over, by hyper or the plain road.
    heads: Cell<u64>,
    /// The head, counted as `heads` does, that has both lengths.
    ambiguous: Cell<Option<u64>>,
    /// From this head on the framing could not be followed; hyper will refuse it too.
    unframed: Cell<Option<u64>>,
    /// What was read ends where a request ends.
    between: Cell<bool>,
    /// A response's body is with hyper.
    body_open: Cell<bool>,
    /// Part of what hyper wrote may still be in its buffer.
    unflushed: Cell<bool>,
    /// The response that is about to be written was long in coming.
    answered_late: Cell<bool>,
    /// A response went out, or is about to, although bytes of its request are unread.
    unread: Cell<bool>,
    /// hyper is not there: the connection waits without it, for bytes or for a reply.
    resting: Cell<bool>,
    /// What a new hyper would have to know of the request under way.
    replay: Cell<Replay>,
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
            body_expired: Cell::default(),
            heads: Cell::default(),
            ambiguous: Cell::default(),
            unframed: Cell::default(),
            between: Cell::default(),
            body_open: Cell::default(),
            unflushed: Cell::default(),
            answered_late: Cell::default(),
            unread: Cell::default(),
            resting: Cell::default(),
            replay: Cell::default(),
        }
    }

    /// Enters a phase.
    #[inline]
    pub fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.since_ms.set(self.worker.connections.now_ms());
    }

    /// A request's head has been handed over. True when its length cannot be told: it is to be refused.
    #[inline]
    pub fn begin_request(&self, chunked: impl FnOnce() -> bool) -> bool {
        let head = self.heads.get();
        self.heads.set(head + 1);
        self.enter(Phase::Service);
        self.ambiguous.get() == Some(head)
            || (self.unframed.get().is_some_and(|from| head >= from) && chunked())
    }

    /// What decides how the response to the request is written: its hyper may be sent away before.
    #[inline]
    pub fn remember(&self, replay: Replay) {
        self.replay.set(replay);
    }

    /// A response that took so long is about to be written.
    #[inline]
    pub fn begin_response(&self, took: Duration) {
        self.answered_late.set(LATE.contains(&took));
        self.body_open.set(true);
        self.unflushed.set(true);
        self.enter(Phase::Response);
    }

    /// hyper is done with the response's body.
    #[inline]
    pub fn end_response_body(&self) {
        self.body_open.set(false);
        self.unflushed.set(true);
    }

    /// The response leaves request bytes unread: it is the last, and once it is written they are read and thrown away for a while.
    pub fn leave_unread(&self) {
        self.unread.set(true);
    }

    /// Whether it does.
    #[must_use]
    pub fn leaves_unread(&self) -> bool {
        self.unread.get()
    }

    /// Whether the body's time is up.
    #[inline]
    #[must_use]
    pub fn body_expired(&self) -> bool {
        self.body_expired.get()
    }

    /// Everything handed to hyper has been written, as far as the socket can tell.
    #[inline]
    fn flushed(&self) {
        let is_response = matches!(self.phase.get(), Phase::Response | Phase::Parts);
        if self.body_open.get() {
            if is_response {
                self.enter(Phase::Parts);
            }
        } else if self.unflushed.replace(false) && is_response {
            self.enter(Phase::Idle);
        }
    }

    /// Whether nothing that a request was answered can be in hyper's buffer: what it writes now is its own.
    #[inline]
    fn settled(&self) -> bool {
        !self.body_open.get()
            && !self.unflushed.get()
            && !matches!(self.phase.get(), Phase::Service | Phase::Body)
    }

    /// Whether hyper holds nothing but its buffers while it waits for another request. One that still has to throw a body away
    /// has its bytes: a reader after it would take them for a request.
    fn is_idle(&self) -> bool {
        self.settled() && self.phase.get() == Phase::Idle && !self.unread.get()
    }

    /// Whether it does while a request waits for its reply: the request has been read whole, all before it is written.
    fn is_waiting(&self) -> bool {
        self.phase.get() == Phase::Service && !self.body_open.get() && !self.unflushed.get()
    }

    fn give(&self, order: Order) {
        self.order.set(Some(order));
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    fn keep_waker(&self, waker: &Waker) {
        let mut kept = self.waker.borrow_mut();
        if !kept.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
            *kept = Some(waker.clone());
        }
    }
}

/// Takes an accepted connection over: serves it on a task of its own, or turns it away.
pub fn open(worker: &Rc<Worker>, stream: Stream, peer: Peer) {
    worker.stats.connections_accepted.increment();
    let limit = worker.config.limits.connections;
    if worker.connections.len() >= limit {
        refuse(worker, &stream, &Refusal::Connections { limit });
        return;
    }
    let connection = Rc::new(Connection::new(Rc::clone(worker), peer));
    let place = worker.connections.add(&connection);
    worker.stats.connections_open.increment();
    let mut tap = Tap::new(stream, Rc::clone(&connection));
    let open = Open { connection, place };
    tokio::task::spawn_local(async move { serve(&open.connection, &mut tap).await });
}

/// Counts a connection as long as it is open, whichever way it ends.
struct Open {
    connection: Rc<Connection>,
    place: usize,
}

impl Drop for Open {
    fn drop(&mut self) {
        let worker = &self.connection.worker;
        worker.stats.connections_open.decrement();
        worker.connections.remove(self.place);
    }
}

/// One write and the end: turning a connection away must cost less than serving it. A client that has sent much by
/// then may see a reset instead.
fn refuse(worker: &Worker, stream: &Stream, refusal: &Refusal) {
    worker.stats.connections_refused.increment();
    answer_bare(worker, stream, refusal);
}

/// Answers on a connection that has no request to answer.
fn answer_bare(worker: &Worker, stream: &Stream, refusal: &Refusal) {
    worker.stats.reject(refusal.reason());
    if let Ok(written) = stream.try_write(&rescue::bare(refusal)) {
        worker.stats.bytes_out.add(written as u64);
        worker.stats.count_status(refusal.reason().status());
    }
}
