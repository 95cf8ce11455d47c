//! The task of one connection: one request after the other, then the end.
//!
//! Owns: the one loop from the first byte to the last, what is done when it ends, and counting the
//! connection as long as it is open. Does not: look at the clock (`sweep`). Invariant: an order of
//! the sweep or of the drain is taken at the next poll, wherever the task waits.

use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http1::Phase;
use tokio::io::AsyncWrite;

use super::answering::{Ready, poll_answer};
use super::body::Receiving;
use super::buffers::Place;
use super::incoming::{Incoming, poll_request};
use super::io::{End, Io};
use super::outgoing::Outgoing;
use super::{Order, answer_bare};
use crate::rescue::Refusal;

/// What a connection is doing.
enum State {
    /// Reads a request's head, or waits for one.
    Request,
    /// Reads a body that did not come with its head.
    Body(Box<Receiving>),
    /// Waits for the answer of a service.
    Asked(Place),
    /// Writes a response.
    Response(Outgoing),
    /// Has said that nothing more comes, and throws away what the client still sends.
    Linger,
}

impl From<Ready> for State {
    #[inline]
    fn from(ready: Ready) -> Self {
        match ready {
            Ready::Asked(place) => Self::Asked(place),
            Ready::Response(outgoing) => Self::Response(outgoing),
        }
    }
}

impl From<Incoming> for State {
    #[inline]
    fn from(incoming: Incoming) -> Self {
        match incoming {
            Incoming::Body(receiving) => Self::Body(receiving),
            Incoming::Ready(ready) => ready.into(),
        }
    }
}

/// A connection at work; the task's future.
pub(super) struct Serving {
    io: Io,
    state: State,
    /// Its place among the worker's connections.
    place: usize,
}

impl Serving {
    /// A connection that was just accepted; `place` is where the worker's table has it.
    pub(super) fn new(io: Io, place: usize) -> Self {
        io.connection.worker.stats.connections_open.increment();
        Self { io, state: State::Request, place }
    }

    /// Goes on until the connection ends.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<End> {
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
                State::Asked(place) => ready!(poll_answer(io, place, context)).map(State::Response),
                State::Response(outgoing) => ready!(outgoing.poll(io, context)).map(|()| State::Request),
                State::Linger => ready!(io.poll_discard(context)),
            };
            let done = match next {
                Ok(next) => mem::replace(state, next),
                Err(End::Closed) if !matches!(state, State::Linger) && io.must_linger() => {
                    begin_to_linger(io, context);
                    mem::replace(state, State::Linger)
                }
                Err(end) => return Poll::Ready(end),
            };
            if let State::Asked(place) = done {
                io.connection.worker.buffers.give_back_place(place);
            }
        }
    }
}

impl Future for Serving {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let end = ready!(self.poll_end(context));
        let io = &self.io;
        let (worker, client) = (&io.connection.worker, &io.connection.peer.text);
        match end {
            End::Closed => {}
            End::Expired => expired(io),
            End::Broken => tracing::debug!(worker = worker.id, %client, "a response broke off"),
            End::Gone(error) => tracing::debug!(worker = worker.id, %client, %error, "ended by its client"),
        }
        Poll::Ready(())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let worker = &self.io.connection.worker;
        worker.stats.connections_open.decrement();
        worker.connections.remove(self.place);
    }
}

fn expired(io: &Io) {
    let worker = &io.connection.worker;
    worker.stats.connections_timed_out.increment();
    if io.connection.phase.get() == Phase::Head {
        let limit = worker.config.limits.timeouts.head;
        answer_bare(&io.connection, &io.stream, &Refusal::HeadTimeout { limit });
    }
}

/// Says that nothing more comes. What the client still sends is read and thrown away, so that
/// closing does not reset the connection before the response has been read (RFC 9112 section 9.6).
/// The sweep ends it.
fn begin_to_linger(io: &mut Io, context: &mut Context<'_>) {
    io.connection.enter(Phase::Linger);
    // A socket's is done at once, and a client that is gone has nothing left to read.
    let _ = Pin::new(&mut io.stream).poll_shutdown(context);
}

impl Io {
    /// True when closing now could take the response from a client that is still sending.
    fn must_linger(&self) -> bool {
        !self.connection.half_closed.get()
            && (self.lingers || !self.unread.is_empty() || self.stream.has_unread())
    }

    /// Reads and throws away. A drain does not end that: it is what keeps the response whole.
    fn poll_discard(&mut self, context: &mut Context<'_>) -> Poll<Result<State, End>> {
        if self.connection.take_order(context.waker()) == Some(Order::Expire) {
            return Poll::Ready(Err(End::Closed));
        }
        ready!(self.poll_read_into_shared(context))?;
        Poll::Ready(Ok(State::Linger))
    }
}
