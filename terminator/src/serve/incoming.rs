//! Reading requests: a head, and the body if it was read together with the head.
//!
//! Owns the step from bytes to a request that is sent to a service, is answered, or has a body
//! still to be read. Leaves parsing to crate `http1`, later bodies to `body`, and the request to
//! `forward`.

use std::mem;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http1::{Event, Phase, Step};
use tokio::task::coop;

use super::answering::{Next, answer, ask, refuse};
use super::body::Receiving;
use super::buffers::READ_LEN_MAX;
use super::io::{Disconnect, Io};
use crate::forward::{self, Begun};
use crate::worker::Order;

/// The next step for a request whose head has been read.
pub(super) enum Incoming {
    /// Read the body.
    Body(Box<Receiving>),
    /// The request is complete, or has failed.
    Done(Next),
}

/// Reads a request's head, and its body if that is read together with the head.
pub(super) fn poll_request(io: &mut Io, context: &mut Context<'_>) -> Poll<Result<Incoming, Disconnect>> {
    if io.connection.take_order(context.waker()) == Some(Order::Expire) {
        return Poll::Ready(Err(Disconnect::Expired));
    }
    if io.fresh {
        // Charge the task's budget, so that a client that pipelines cannot starve other tasks.
        ready!(coop::poll_proceed(context)).made_progress();
    }
    loop {
        if let Some(next) = parse_unread(io) {
            return Poll::Ready(Ok(next));
        }
        let parsed = if io.unread.is_empty() {
            poll_read_shared(io, context)
        } else {
            io.poll_read_unread(READ_LEN_MAX, context).map_ok(|()| None)
        };
        match parsed {
            Poll::Ready(Ok(None)) => {}
            Poll::Ready(Ok(Some(next))) => return Poll::Ready(Ok(next)),
            Poll::Ready(Err(end)) => return Poll::Ready(Err(end)),
            Poll::Pending if io.is_done() => return Poll::Ready(Err(Disconnect::Closed)),
            Poll::Pending => return Poll::Pending,
        }
    }
}

/// Reads into the worker's buffer and parses it; copies only the bytes that are left over.
#[inline]
fn poll_read_shared(io: &mut Io, context: &mut Context<'_>) -> Poll<Result<Option<Incoming>, Disconnect>> {
    ready!(io.poll_read_into_shared(context))?;
    let buffers = Rc::clone(&io.buffers);
    let mut buffer = buffers.read.borrow_mut();
    let (used, next) = parse(io, &mut buffer);
    if used < buffer.len() {
        io.unread = BytesMut::from(&buffer[used..]);
        io.fresh = next.is_some();
    }
    Poll::Ready(Ok(next))
}

/// Parses the bytes that are left over from earlier reads.
fn parse_unread(io: &mut Io) -> Option<Incoming> {
    if !mem::replace(&mut io.fresh, false) {
        return None;
    }
    let mut unread = mem::take(&mut io.unread);
    let (used, next) = parse(io, &mut unread);
    unread.advance(used);
    if !unread.is_empty() {
        io.unread = unread;
        io.fresh = next.is_some();
    }
    next
}

/// Parses a request at the front of `input`; returns the number of bytes used.
#[inline]
fn parse(io: &mut Io, input: &mut [u8]) -> (usize, Option<Incoming>) {
    let connection = Rc::clone(&io.connection);
    let buffers = Rc::clone(&io.buffers);
    let mut head = buffers.head.borrow_mut();
    let limits = &connection.worker.config.limits.http;
    let (skip, len) = match io.protocol.receive(input, &mut head, limits) {
        Ok(Step { skip, event: Some(Event::Head(len)) }) => (skip, len),
        Ok(Step { skip, .. }) => {
            if io.protocol.phase() == Phase::Head && connection.phase() != Phase::Head {
                connection.enter(Phase::Head);
            }
            // A client that uses Nagle's algorithm sends the rest after the acknowledgement.
            io.stream.ack_now();
            return (skip, None);
        }
        Err(error) => {
            return (input.len(), Some(Incoming::Done(Next::Respond(refuse(io, &error.into())))));
        }
    };
    let (bytes, behind) = input[skip..].split_at_mut(len);
    connection.enter(Phase::Service);
    let begun = forward::begin(&connection, head.request(bytes));
    let (used, next) = parse_body(io, begun, behind, &mut head, limits);
    (skip + len + used, Some(next))
}

/// Takes the body of a request from `behind`, the bytes that were read behind its head; returns the
/// number of bytes used.
#[inline]
fn parse_body(
    io: &mut Io,
    begun: Begun,
    behind: &mut [u8],
    head: &mut http1::Head,
    limits: &http1::Limits,
) -> (usize, Incoming) {
    if let Err(error) = io.protocol.check_length(limits) {
        return (0, Incoming::Done(Next::Respond(answer(io, begun.refuse(error.into())))));
    }
    if !begun.wants_body() && io.protocol.expects_continue() {
        // The client may or may not send the body now, so the next request cannot be found.
        io.protocol.end();
        return (0, Incoming::Done(ask(io, begun, bus::Body::new())));
    }
    let len = match io.protocol.body_left() {
        Some(left) if left <= behind.len().min(READ_LEN_MAX) as u64 => {
            usize::try_from(left).expect("it is at most a usize")
        }
        _ => {
            let mut receiving = Box::new(Receiving::new(begun));
            let used = receiving.take(&mut io.protocol, behind, head);
            io.connection.enter(Phase::Body);
            io.stream.ack_now();
            return (used, Incoming::Body(receiving));
        }
    };
    let mut body = bus::Body::new();
    if len > 0 {
        if begun.wants_body() {
            body.push(Bytes::copy_from_slice(&behind[..len]));
        }
        let taken = io.protocol.receive(&mut behind[..len], head, limits);
        debug_assert_eq!(taken, Ok(Step { skip: 0, event: Some(Event::Data(len)) }));
    }
    let end = io.protocol.receive(&mut [], head, limits);
    debug_assert_eq!(end, Ok(Step { skip: 0, event: Some(Event::End) }));
    (len, Incoming::Done(ask(io, begun, body)))
}
