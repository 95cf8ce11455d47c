//! A connection's socket and what is known of its bytes: reads requests, waits for answers, begins responses.
//!
//! Owns: the step from bytes to a request and from an answer to bytes. Does not: frame (crate `http1`), read bodies that did not
//! come with their head (`body`), or write (`outgoing`). Invariant: between two requests it holds no memory but itself.

use std::io;
use std::mem;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http1::{Event, Phase, Step};
use tokio::io::AsyncReadExt;

use super::body::Receiving;
use super::buffers::{Place, READ_LEN_MAX};
use super::outgoing::Outgoing;
use super::{Connection, Order, Stream, refused_bare};
use crate::forward::{self, Begun, Exchange};
use crate::limits::LATE;
use crate::rescue::{self, Reason, Refusal};
use crate::response::Answer;

/// A client's socket, with its protocol's state.
pub(super) struct Io {
    pub(super) stream: Stream,
    pub(super) connection: Rc<Connection>,
    pub(super) protocol: http1::Connection,
    /// Read, and not used yet.
    pub(super) unread: BytesMut,
    /// The protocol has not seen all of `unread`.
    pub(super) fresh: bool,
    /// The client may still be sending what will not be read.
    pub(super) lingers: bool,
    /// The response that is about to be written was long in coming.
    answered_late: bool,
}

/// What is done with a request whose head has been read.
pub(super) enum Next {
    /// Its body is to come.
    Body(Box<Receiving>),
    /// It has been read to its end, or to where it is given up.
    Ready(Ready),
}

/// What is done with a request that has been read.
pub(super) enum Ready {
    /// A service is asked.
    Ask(Place),
    /// It is answered.
    Respond(Outgoing),
}

/// How a connection ends.
#[derive(Debug)]
pub(super) enum End {
    /// With its last response, or its client has ended it.
    Closed,
    /// The client overstayed.
    Expired,
    /// Within a response: its service broke off, so the client must see that it is not whole.
    Broken,
    /// The client left while its request waited, or its socket failed.
    Gone(io::Error),
}

impl Io {
    pub(super) fn new(stream: Stream, connection: Rc<Connection>) -> Self {
        Self {
            stream,
            connection,
            protocol: http1::Connection::new(),
            unread: BytesMut::new(),
            fresh: false,
            lingers: false,
            answered_late: false,
        }
    }

    /// Reads a request's head, and its body if that came with it.
    pub(super) fn poll_request(&mut self, context: &mut Context<'_>) -> Poll<Result<Next, End>> {
        match self.connection.take_order(context.waker()) {
            None => {}
            Some(Order::Expire) => return Poll::Ready(Err(End::Expired)),
            // What came before a drain is served, and is the last.
            Some(Order::Drain) if self.fresh || !self.protocol.is_between_requests() => {}
            Some(Order::Drain) if self.stream.has_unread() => {}
            Some(Order::Drain) => return Poll::Ready(Err(End::Closed)),
        }
        loop {
            if let Some(next) = self.look_at_unread() {
                return Poll::Ready(Ok(next));
            }
            let looked = if self.unread.is_empty() {
                ready!(self.poll_read_shared(context))
            } else {
                ready!(self.poll_read_unread(READ_LEN_MAX, context)).map(|_| None)
            };
            match looked {
                Ok(None) => {}
                Ok(Some(next)) => return Poll::Ready(Ok(next)),
                Err(end) => return Poll::Ready(Err(end)),
            }
        }
    }

    /// Reads into the worker's buffer, looks at what came, and keeps only what is not used.
    #[inline]
    fn poll_read_shared(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Next>, End>> {
        let connection = Rc::clone(&self.connection);
        let mut buffer = connection.worker.buffers.read.borrow_mut();
        buffer.clear();
        buffer.reserve(READ_LEN_MAX);
        ready!(self.poll_read(&mut *buffer, context))?;
        let (used, next) = self.look(&mut buffer);
        if used < buffer.len() {
            self.unread = BytesMut::from(&buffer[used..]);
            self.fresh = next.is_some();
        }
        Poll::Ready(Ok(next))
    }

    /// Reads behind what is unread.
    pub(super) fn poll_read_unread(
        &mut self,
        len: usize,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), End>> {
        let mut unread = mem::take(&mut self.unread);
        unread.reserve(len);
        let read = self.poll_read(&mut unread, context);
        self.unread = unread;
        self.fresh |= matches!(read, Poll::Ready(Ok(_)));
        read.map_ok(|_| ())
    }

    /// Reads what there is, at least a byte.
    #[inline]
    pub(super) fn poll_read(
        &mut self,
        buffer: &mut impl BufMut,
        context: &mut Context<'_>,
    ) -> Poll<Result<usize, End>> {
        match ready!(pin!(self.stream.read_buf(buffer)).poll(context)) {
            Ok(0) => {
                self.connection.half_closed.set(true);
                if self.protocol.phase() == Phase::Head {
                    self.connection.worker.stats.reject(Reason::HeadTruncated);
                }
                Poll::Ready(Err(End::Closed))
            }
            Ok(len) => {
                self.connection.worker.stats.bytes_in.add(len as u64);
                Poll::Ready(Ok(len))
            }
            Err(error) => Poll::Ready(Err(End::Gone(error))),
        }
    }

    fn look_at_unread(&mut self) -> Option<Next> {
        if !mem::replace(&mut self.fresh, false) {
            return None;
        }
        let mut unread = mem::take(&mut self.unread);
        let (used, next) = self.look(&mut unread);
        unread.advance(used);
        if !unread.is_empty() {
            self.unread = unread;
            self.fresh = next.is_some();
        }
        next
    }

    /// Looks for a request at the front of `input`; how much of it has been used.
    #[inline]
    fn look(&mut self, input: &mut [u8]) -> (usize, Option<Next>) {
        let connection = Rc::clone(&self.connection);
        let worker = &connection.worker;
        let mut head = worker.buffers.head.borrow_mut();
        let limits = &worker.config.limits.http;
        let (skip, len) = match self.protocol.receive(input, &mut head, limits) {
            Ok(Step { skip, event: Some(Event::Head(len)) }) => (skip, len),
            Ok(Step { skip, .. }) => {
                if self.protocol.phase() == Phase::Head && connection.phase.get() != Phase::Head {
                    connection.enter(Phase::Head);
                }
                // The rest may wait for the acknowledgement of what came.
                self.stream.ack_now();
                return (skip, None);
            }
            Err(error) => {
                return (input.len(), Some(Next::Ready(Ready::Respond(self.refuse(&error.into())))));
            }
        };
        let (bytes, behind) = input[skip..].split_at_mut(len);
        connection.enter(Phase::Service);
        let begun = forward::begin(&connection, head.request(bytes));
        let (used, next) = self.look_for_body(begun, behind, &mut head, limits);
        (skip + len + used, Some(next))
    }

    /// Takes the body of a request whose head came in front of `behind`; how much of that has been used.
    #[inline]
    fn look_for_body(
        &mut self,
        begun: Begun,
        behind: &mut [u8],
        head: &mut http1::Head,
        limits: &http1::Limits,
    ) -> (usize, Next) {
        let len = match self.protocol.body_left() {
            Some(left) if left <= behind.len().min(READ_LEN_MAX) as u64 && left <= limits.body_len_max => {
                usize::try_from(left).expect("it is not above a length")
            }
            _ => {
                let mut receiving = Box::new(Receiving::new(begun));
                let used = receiving.take(&mut self.protocol, behind, head);
                self.connection.enter(Phase::Body);
                self.stream.ack_now();
                return (used, Next::Body(receiving));
            }
        };
        let mut body = bus::Body::new();
        if len > 0 {
            if begun.wants_body() {
                body.push(Bytes::copy_from_slice(&behind[..len]));
            }
            let taken = self.protocol.receive(&mut behind[..len], head, limits);
            debug_assert_eq!(taken, Ok(Step { skip: 0, event: Some(Event::Data(len)) }));
        }
        let end = self.protocol.receive(&mut [], head, limits);
        debug_assert_eq!(end, Ok(Step { skip: 0, event: Some(Event::End) }));
        (len, Next::Ready(self.ask(begun, body)))
    }

    /// Asks a service, or answers at once.
    #[inline]
    pub(super) fn ask(&mut self, begun: Begun, body: bus::Body) -> Ready {
        match begun.ask(body) {
            Ok(asked) => Ready::Ask(self.connection.worker.buffers.place(asked)),
            Err(answered) => Ready::Respond(self.answer(answered)),
        }
    }

    /// Answers a request without a service.
    pub(super) fn answer(&mut self, mut answered: forward::Answered) -> Outgoing {
        let (exchange, answer) = answered.exchange();
        self.respond(exchange, answer)
    }

    /// Waits for the answer to a request.
    pub(super) fn poll_answer(
        &mut self,
        place: &mut Place,
        context: &mut Context<'_>,
    ) -> Poll<Result<Outgoing, End>> {
        let order = self.connection.take_order(context.waker());
        let asked = place.as_mut().as_mut().expect("it was filled, and is emptied when it is answered");
        if let Poll::Ready(mut answer) = asked.poll(context) {
            return Poll::Ready(Ok(self.respond(asked.exchange(), &mut answer)));
        }
        if order == Some(Order::Expire) {
            // Its client had ended its side long ago.
            return Poll::Ready(Err(End::Gone(io::ErrorKind::TimedOut.into())));
        }
        // Behind bytes that nobody has read the end cannot be seen.
        if self.unread.is_empty() && !self.connection.half_closed.get() {
            match self.stream.poll_ended(context) {
                Poll::Pending => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(End::Gone(error))),
                Poll::Ready(Ok(())) => {
                    // It may still read: its request is answered, and is the last.
                    self.connection.half_closed.set(true);
                    self.connection.enter(Phase::Service);
                    self.protocol.end_of_input().expect("the request has been read whole");
                }
            }
        }
        Poll::Pending
    }

    /// Begins the response to a request.
    #[inline]
    fn respond(&mut self, exchange: Exchange<'_>, answer: &mut Answer) -> Outgoing {
        let connection = Rc::clone(&self.connection);
        let worker = &connection.worker;
        // Bytes of the request are left unread.
        self.lingers |= self.protocol.phase() != Phase::Service;
        let mut out = worker.buffers.take_written();
        let date = worker.buffers.date(worker);
        let written = answer.write(exchange.head, &mut self.protocol, worker.draining(), &date, &mut out);
        let body_len = written.parts.is_none().then_some(written.body.len() as u64);
        let elapsed = exchange.end(answer, body_len);
        self.answered_late = LATE.contains(&elapsed);
        connection.enter(Phase::Response);
        Outgoing::new(out, written)
    }

    /// Begins the response to what is no request.
    fn refuse(&mut self, refusal: &Refusal) -> Outgoing {
        let worker = &self.connection.worker;
        self.lingers = true;
        let mut out = worker.buffers.take_written();
        let id = rescue::write_bare(refusal, &mut self.protocol, &worker.buffers.date(worker), &mut out);
        refused_bare(&self.connection, refusal, &id);
        self.connection.enter(Phase::Response);
        Outgoing::whole(out)
    }

    /// Takes note of what the client took.
    #[inline]
    pub(super) fn wrote(&mut self, len: usize) {
        self.connection.worker.stats.bytes_out.add(len as u64);
        if mem::replace(&mut self.answered_late, false) {
            self.stream.delay_ack();
        }
    }
}
