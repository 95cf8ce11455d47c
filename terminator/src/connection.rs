//! One HTTP connection: its state, its task, its time-outs.
//!
//! Owns: the phases of a connection and the task that lets hyper serve it. Does not: answer requests (`forward`).
//! Invariant: a connection that waits for its client is always in a phase with a time-out, and one sweep per worker ends
//! those that overstay; no request sets a timer.

mod framing;
mod stream;
mod sweep;
mod tap;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

use http::StatusCode;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;

pub use stream::Stream;
pub use sweep::{Connections, sweep};

use crate::forward::forward;
use crate::rescue::{self, Refusal};
use crate::worker::Worker;
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
    /// Heads that hyper has handed over.
    heads: Cell<u64>,
    /// The head, counted as `heads` does, that has both lengths.
    ambiguous: Cell<Option<u64>>,
    /// From this head on the framing could not be followed; hyper will refuse it too.
    unframed: Cell<Option<u64>>,
    /// A response's body is with hyper.
    body_open: Cell<bool>,
    /// Part of a response may still be in hyper's buffer.
    unflushed: Cell<bool>,
    /// A response went out although request bytes were unread.
    unread: Cell<bool>,
    /// hyper is not there: the connection waits for bytes without it.
    resting: Cell<bool>,
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
            body_open: Cell::default(),
            unflushed: Cell::default(),
            unread: Cell::default(),
            resting: Cell::default(),
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

    /// A response is about to be handed to hyper.
    #[inline]
    pub fn begin_response(&self) {
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

    /// The response leaves request bytes unread: once it is written they are read and thrown away for a while.
    pub fn leave_unread(&self) {
        self.unread.set(true);
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
        if !self.body_open.get() && self.unflushed.replace(false) && self.phase.get() == Phase::Response {
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
    tokio::task::spawn_local(async move {
        let open = Open { connection, place };
        serve(&open.connection, stream).await;
    });
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

/// How hyper's turn ended.
enum Turn {
    /// Between two requests, and none comes.
    Rest,
    Expired,
    Ended(hyper::Result<()>),
}

/// Serves a connection: without hyper while no byte comes, since hyper keeps 16 KiB of buffers.
async fn serve(connection: &Rc<Connection>, stream: Stream) {
    let mut tap = Tap::new(stream, Rc::clone(connection));
    let ended = loop {
        match rest(connection, &tap).await {
            None => {}
            Some(Order::Drain | Order::Rest) => break Turn::Ended(Ok(())),
            Some(Order::Expire) => break Turn::Expired,
        }
        let turn;
        (turn, tap) = work(connection, tap).await;
        if !matches!(turn, Turn::Rest) {
            break turn;
        }
        connection.worker.stats.connections_rested.increment();
        if connection.worker.draining() {
            // The hyper that knew is gone.
            connection.order.set(Some(Order::Drain));
        }
    };
    let stream = tap.into_stream();
    match ended {
        Turn::Expired => expired(connection, &stream),
        Turn::Ended(Ok(())) if connection.unread.get() => linger(connection, stream).await,
        Turn::Ended(Err(error)) if error.is_parse() => linger(connection, stream).await,
        Turn::Ended(Err(error)) => {
            let (worker, client) = (connection.worker.id, &connection.peer.text);
            tracing::debug!(worker, %client, %error, "connection ended");
        }
        Turn::Ended(Ok(())) | Turn::Rest => {}
    }
}

/// Waits for a byte of the client; an order that ends the wait before.
async fn rest(connection: &Connection, tap: &Tap) -> Option<Order> {
    connection.resting.set(true);
    let order = poll_fn(|context| {
        connection.keep_waker(context.waker());
        match connection.order.take().filter(|order| *order != Order::Rest) {
            Some(order) => Poll::Ready(Some(order)),
            None => tap.poll_readable(context).map(|()| None),
        }
    })
    .await;
    connection.resting.set(false);
    order
}

/// Lets hyper serve until the end, or until the connection may rest.
async fn work(connection: &Rc<Connection>, tap: Tap) -> (Turn, Tap) {
    let of_requests = Rc::clone(connection);
    let service = service_fn(move |request| forward(Rc::clone(&of_requests), request));
    let http = connection.worker.http.serve_connection(TokioIo::new(tap), service);
    // On the heap, so that a connection that rests does without.
    let mut http = Box::new(http);
    let turn = poll_fn(|context| {
        connection.keep_waker(context.waker());
        match connection.order.take() {
            Some(Order::Drain) => Pin::new(&mut *http).graceful_shutdown(),
            Some(Order::Expire) => return Poll::Ready(Turn::Expired),
            Some(Order::Rest) if connection.settled() && connection.phase.get() == Phase::Idle => {
                return Poll::Ready(Turn::Rest);
            }
            Some(Order::Rest) | None => {}
        }
        Pin::new(&mut *http).poll(context).map(Turn::Ended)
    })
    .await;
    let parts = http.into_parts();
    let mut tap = parts.io.into_inner();
    tap.unread(parts.read_buf);
    (turn, tap)
}

fn expired(connection: &Connection, stream: &Stream) {
    let worker = &connection.worker;
    worker.stats.connections_timed_out.increment();
    if connection.phase.get() == Phase::Head {
        answer_bare(worker, stream, &Refusal::HeadTimeout { limit: worker.config.limits.header_timeout });
    }
}

/// Reads and throws away what the client still sends, so that closing does not reset the connection before the
/// response has been read. The sweep ends it.
async fn linger(connection: &Connection, mut stream: Stream) {
    connection.enter(Phase::Linger);
    let mut thrown_away = vec![0; 4096];
    let mut read = poll_read_or_expire(connection, &mut stream, &mut thrown_away).await;
    while matches!(read, Some(Ok(1..))) {
        read = poll_read_or_expire(connection, &mut stream, &mut thrown_away).await;
    }
}

async fn poll_read_or_expire(
    connection: &Connection,
    stream: &mut Stream,
    buffer: &mut [u8],
) -> Option<io::Result<usize>> {
    let mut read = std::pin::pin!(stream.read(buffer));
    poll_fn(|context| {
        connection.keep_waker(context.waker());
        match connection.order.take() {
            Some(_) => Poll::Ready(None),
            None => read.as_mut().poll(context).map(Some),
        }
    })
    .await
}

/// The status line that hyper writes for a request it cannot parse.
fn parse_error_status(response: &[u8]) -> Option<StatusCode> {
    let code = response.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    let status = StatusCode::from_bytes(code).ok()?;
    (status.is_client_error() && response.ends_with(b"\r\n\r\n")).then_some(status)
}
