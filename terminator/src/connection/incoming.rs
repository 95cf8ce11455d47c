//! Requests as they come in: heads, and the bodies that came with them.
//!
//! Owns: the step from bytes to a request that is asked, answered, or whose body is to come. Does
//! not: parse (crate `http1`).

use std::mem;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http1::{Event, Phase, Step};
use tokio::task::coop;

use super::Order;
use super::answering::{Ready, answer, ask, refuse};
use super::body::Receiving;
use super::buffers::READ_LEN_MAX;
use super::io::{End, Io};
use crate::forward::{self, Begun};

/// What is done with a request whose head has been read.
pub(super) enum Incoming {
    /// Its body is to come.
    Body(Box<Receiving>),
    /// It is whole, or is given up.
    Ready(Ready),
}

/// Reads a request's head, and its body if that came with it.
pub(super) fn poll_request(io: &mut Io, context: &mut Context<'_>) -> Poll<Result<Incoming, End>> {
    if io.connection.take_order(context.waker()) == Some(Order::Expire) {
        return Poll::Ready(Err(End::Expired));
    }
    if io.fresh {
        // Charge the task's budget, so that a client that pipelines cannot starve others.
        ready!(coop::poll_proceed(context)).made_progress();
    }
    loop {
        if let Some(next) = look_at_unread(io) {
            return Poll::Ready(Ok(next));
        }
        let looked = if io.unread.is_empty() {
            poll_read_shared(io, context)
        } else {
            io.poll_read_unread(READ_LEN_MAX, context).map_ok(|()| None)
        };
        match looked {
            Poll::Ready(Ok(None)) => {}
            Poll::Ready(Ok(Some(next))) => return Poll::Ready(Ok(next)),
            Poll::Ready(Err(end)) => return Poll::Ready(Err(end)),
            Poll::Pending if io.is_done() => return Poll::Ready(Err(End::Closed)),
            Poll::Pending => return Poll::Pending,
        }
    }
}

/// Reads into the worker's buffer, looks at what came, and keeps only what is not used.
#[inline]
fn poll_read_shared(io: &mut Io, context: &mut Context<'_>) -> Poll<Result<Option<Incoming>, End>> {
    ready!(io.poll_read_into_shared(context))?;
    let connection = Rc::clone(&io.connection);
    let mut buffer = connection.worker.buffers.read.borrow_mut();
    let (used, next) = look(io, &mut buffer);
    if used < buffer.len() {
        io.unread = BytesMut::from(&buffer[used..]);
        io.fresh = next.is_some();
    }
    Poll::Ready(Ok(next))
}

fn look_at_unread(io: &mut Io) -> Option<Incoming> {
    if !mem::replace(&mut io.fresh, false) {
        return None;
    }
    let mut unread = mem::take(&mut io.unread);
    let (used, next) = look(io, &mut unread);
    unread.advance(used);
    if !unread.is_empty() {
        io.unread = unread;
        io.fresh = next.is_some();
    }
    next
}

/// Looks for a request at the front of `input`; how much of it has been used.
#[inline]
fn look(io: &mut Io, input: &mut [u8]) -> (usize, Option<Incoming>) {
    let connection = Rc::clone(&io.connection);
    let worker = &connection.worker;
    let mut head = worker.buffers.head.borrow_mut();
    let limits = &worker.config.limits.http;
    let (skip, len) = match io.protocol.receive(input, &mut head, limits) {
        Ok(Step { skip, event: Some(Event::Head(len)) }) => (skip, len),
        Ok(Step { skip, .. }) => {
            if io.protocol.phase() == Phase::Head && connection.phase.get() != Phase::Head {
                connection.enter(Phase::Head);
            }
            // The rest may wait for the acknowledgement of what came.
            io.stream.ack_now();
            return (skip, None);
        }
        Err(error) => {
            return (input.len(), Some(Incoming::Ready(Ready::Response(refuse(io, &error.into())))));
        }
    };
    let (bytes, behind) = input[skip..].split_at_mut(len);
    connection.enter(Phase::Service);
    let begun = forward::begin(&connection, head.request(bytes));
    let (used, next) = look_for_body(io, begun, behind, &mut head, limits);
    (skip + len + used, Some(next))
}

/// Takes the body of a request whose head came in front of `behind`; how much of that has been
/// used.
#[inline]
fn look_for_body(
    io: &mut Io,
    begun: Begun,
    behind: &mut [u8],
    head: &mut http1::Head,
    limits: &http1::Limits,
) -> (usize, Incoming) {
    if let Err(error) = io.protocol.check_length(limits) {
        return (0, Incoming::Ready(Ready::Response(answer(io, begun.refuse(error.into())))));
    }
    if !begun.wants_body() && io.protocol.expects_continue() {
        // The client may or may not send the body now, so nothing behind the head can be framed.
        io.protocol.end();
        return (0, Incoming::Ready(ask(io, begun, bus::Body::new())));
    }
    let len = match io.protocol.body_left() {
        Some(left) if left <= behind.len().min(READ_LEN_MAX) as u64 => {
            usize::try_from(left).expect("it is not above a length")
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
    (len, Incoming::Ready(ask(io, begun, body)))
}
