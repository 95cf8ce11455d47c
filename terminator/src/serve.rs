//! The task of one connection: one request after the other, then the close.
//!
//! Owns the loop from the first byte to the last, what happens at the end, and the count of open
//! connections. Leaves each step to its module below `serve`, the answer to `forward`, and
//! time-outs to `worker`, whose sweep orders this task to close. Invariant: an order of the sweep
//! or of the drain is taken at the next poll, in whatever state the task waits.

mod answering;
mod body;
mod buffers;
mod incoming;
mod io;
mod outgoing;
mod stream;

use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use http1::Phase;
use tokio::io::AsyncWrite;

use crate::connection::{Connection, Peer};
use crate::rescue::{self, Refusal};
use crate::worker::{Order, Worker};
use answering::{Next, poll_answer};
use body::Receiving;
use buffers::{AskedBox, Buffers};
use incoming::{Incoming, poll_request};
use io::{Disconnect, Io};
use outgoing::Outgoing;
pub use stream::Stream;

/// Serves the connections of one worker. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Server {
    /// The worker.
    pub worker: Rc<Worker>,
    buffers: Rc<Buffers>,
}

impl Server {
    /// A server without connections.
    #[must_use]
    pub fn new(worker: Rc<Worker>) -> Self {
        Self { worker, buffers: Rc::default() }
    }

    /// Takes over a connection that was just accepted: spawns its task, or refuses it when as many
    /// as `--connection-limit` are open. Must be called inside the worker's runtime.
    pub fn open(&self, stream: Stream, peer: Peer) {
        let worker = &self.worker;
        worker.stats.connections_accepted.increment();
        let limit = worker.config.limits.connections;
        let connection = Connection::new(Rc::clone(worker), peer);
        if worker.connections.len() >= limit {
            worker.stats.connections_refused.increment();
            answer_bare(&connection, &self.buffers, &stream, &Refusal::Connections { limit });
            return;
        }
        let io = Io::new(stream, Rc::new(connection), Rc::clone(&self.buffers));
        tokio::task::spawn_local(ConnectionTask::new(io));
    }
}

/// The step that a connection is at.
enum State {
    /// Reads a request's head, or waits for one.
    Request,
    /// Reads a body that was not read together with its head.
    Body(Box<Receiving>),
    /// Waits for the answer of a service.
    Asked(AskedBox),
    /// Writes a response.
    Response(Outgoing),
    /// Has shut down the sending side, and discards what the client still sends.
    Linger,
}

impl From<Next> for State {
    #[inline]
    fn from(next: Next) -> Self {
        match next {
            Next::Ask(asked) => Self::Asked(asked),
            Next::Respond(outgoing) => Self::Response(outgoing),
        }
    }
}

impl From<Incoming> for State {
    #[inline]
    fn from(incoming: Incoming) -> Self {
        match incoming {
            Incoming::Body(receiving) => Self::Body(receiving),
            Incoming::Done(next) => next.into(),
        }
    }
}

/// The future of one connection's task.
struct ConnectionTask {
    io: Io,
    state: State,
    /// Key in the worker's table of connections.
    key: usize,
}

impl ConnectionTask {
    /// Registers the connection with its worker.
    fn new(io: Io) -> Self {
        let key = io.connection.register();
        io.connection.worker.stats.connections_open.increment();
        Self { io, state: State::Request, key }
    }

    /// Runs until the connection must close.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<Disconnect> {
        let Self { io, state, .. } = self;
        loop {
            let next = match state {
                State::Request => ready!(poll_request(io, context)).map(State::from),
                State::Body(receiving) => match ready!(receiving.poll(io, context)) {
                    Ok(()) => {
                        let State::Body(receiving) = mem::replace(state, State::Request) else {
                            unreachable!("it was matched above");
                        };
                        Ok(receiving.finish(io).into())
                    }
                    Err(end) => Err(end),
                },
                State::Asked(asked) => ready!(poll_answer(io, asked, context)).map(State::Response),
                State::Response(outgoing) => ready!(outgoing.poll(io, context)).map(|()| State::Request),
                State::Linger => ready!(io.poll_discard(context)),
            };
            let done = match next {
                Ok(next) => mem::replace(state, next),
                Err(Disconnect::Closed) if !matches!(state, State::Linger) && io.must_linger() => {
                    begin_to_linger(io, context);
                    mem::replace(state, State::Linger)
                }
                Err(end) => return Poll::Ready(end),
            };
            if let State::Asked(asked) = done {
                io.buffers.give_back_box(asked);
            }
        }
    }
}

impl Future for ConnectionTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let end = ready!(self.poll_end(context));
        let io = &self.io;
        let (worker, client) = (&io.connection.worker, &io.connection.peer.text);
        match end {
            Disconnect::Closed => {}
            Disconnect::Expired => expired(io),
            Disconnect::Broken => {
                tracing::debug!(worker = worker.id, %client, "a service broke off its reply")
            }
            Disconnect::Gone(error) => {
                tracing::debug!(worker = worker.id, %client, %error, "the client closed the connection");
            }
        }
        Poll::Ready(())
    }
}

impl Drop for ConnectionTask {
    fn drop(&mut self) {
        let worker = &self.io.connection.worker;
        worker.stats.connections_open.decrement();
        worker.connections.remove(self.key);
    }
}

/// Counts a time-out; answers 408 when a head is incomplete.
fn expired(io: &Io) {
    let worker = &io.connection.worker;
    worker.stats.connections_timed_out.increment();
    if io.connection.phase() == Phase::Head {
        let limit = worker.config.limits.timeouts.head;
        answer_bare(&io.connection, &io.buffers, &io.stream, &Refusal::HeadTimeout { limit });
    }
}

/// Answers on a connection without a request, with a single write, because refusing a client must
/// cost less than serving it. A client that has sent much by then may see a reset instead.
fn answer_bare(connection: &Connection, buffers: &Buffers, stream: &Stream, refusal: &Refusal) {
    let mut out = Vec::new();
    let date = buffers.date(&connection.worker);
    let id = rescue::write_bare(refusal, &mut http1::Connection::new(), &date, &mut out);
    if let Ok(written) = stream.try_write(&out) {
        connection.worker.stats.bytes_out.add(written as u64);
    }
    connection.refused(refusal, &id);
}

/// Shuts down the sending side. The task then discards what the client still sends, until the
/// time-out of the phase, so that closing does not reset the connection before the client has read
/// the response (RFC 9112 section 9.6).
fn begin_to_linger(io: &mut Io, context: &mut Context<'_>) {
    io.connection.enter(Phase::Linger);
    // The shutdown of a socket never waits, and its error means that the client has left.
    let _ = Pin::new(&mut io.stream).poll_shutdown(context);
}

impl Io {
    /// True when closing now could reset the connection before the client has read the response.
    fn must_linger(&self) -> bool {
        !self.connection.is_half_closed()
            && (self.lingers || !self.unread.is_empty() || self.stream.has_unread())
    }

    /// Reads and discards. A drain does not end this early, so that the client can read the
    /// response.
    fn poll_discard(&mut self, context: &mut Context<'_>) -> Poll<Result<State, Disconnect>> {
        if self.connection.take_order(context.waker()) == Some(Order::Expire) {
            return Poll::Ready(Err(Disconnect::Closed));
        }
        ready!(self.poll_read_into_shared(context))?;
        Poll::Ready(Ok(State::Linger))
    }
}
