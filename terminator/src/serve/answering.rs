//! From a request that has been read to the response that is written for it.
//!
//! Owns polling for a service's answer and beginning the response, in the protocol's state and in
//! the worker's buffer. Leaves the choice of the answer to `forward` and `rescue`, and writing the
//! response to `outgoing`.

use std::rc::Rc;
use std::task::{Context, Poll};

use http1::Phase;

use super::buffers::AskedBox;
use super::io::{Disconnect, Io};
use super::outgoing::Outgoing;
use crate::forward::{Answered, Begun, Exchange};
use crate::limits::LATE;
use crate::rescue::{self, Refusal};
use crate::response::Answer;
use crate::worker::Order;

/// The next step for a request that has been read.
pub(super) enum Next {
    /// Wait for the answer of a service.
    Ask(AskedBox),
    /// Write the response.
    Respond(Outgoing),
}

/// Asks a service, or begins the response when none is needed.
#[inline]
pub(super) fn ask(io: &mut Io, begun: Begun, body: bus::Body) -> Next {
    match begun.ask(body) {
        Ok(asked) => Next::Ask(io.buffers.box_asked(asked)),
        Err(answered) => Next::Respond(answer(io, answered)),
    }
}

/// Begins the response to a request that is answered without a service.
pub(super) fn answer(io: &mut Io, mut answered: Answered) -> Outgoing {
    let (exchange, answer) = answered.exchange();
    respond(io, exchange, answer)
}

/// Polls for a service's answer, and begins the response when it is there.
pub(super) fn poll_answer(
    io: &mut Io,
    asked: &mut AskedBox,
    context: &mut Context<'_>,
) -> Poll<Result<Outgoing, Disconnect>> {
    let order = io.connection.take_order(context.waker());
    let asked = asked.as_mut().as_mut().expect("a box is emptied only when it is given back");
    if let Poll::Ready(mut answer) = asked.poll(context) {
        let outgoing = respond(io, asked.exchange(), &mut answer);
        asked.copy(&answer);
        return Poll::Ready(Ok(outgoing));
    }
    if order == Some(Order::Expire) {
        // Only a half-closed connection has a time-out in this phase.
        let limit = io.connection.worker.config.deadline;
        let mut answer = Answer::from(Refusal::HalfClosed { limit });
        return Poll::Ready(Ok(respond(io, asked.exchange(), &mut answer)));
    }
    let was_half_closed = io.connection.is_half_closed();
    if let Poll::Ready(end) = io.poll_gone(context) {
        return Poll::Ready(Err(end));
    }
    if io.connection.is_half_closed() != was_half_closed {
        // The time-out for half-closed connections starts now.
        io.connection.enter(Phase::Service);
    }
    Poll::Pending
}

/// Begins the response to a request.
#[inline]
fn respond(io: &mut Io, exchange: Exchange<'_>, answer: &mut Answer) -> Outgoing {
    let connection = Rc::clone(&io.connection);
    let worker = &connection.worker;
    // True when request bytes were left unread, so the connection must close after this response.
    io.lingers |= io.protocol.phase() != Phase::Service;
    let buffers = Rc::clone(&io.buffers);
    let mut out = buffers.take_written();
    let date = buffers.date(worker);
    let written = answer.write(exchange.head, &mut io.protocol, worker.leaving(), &date, &mut out);
    let body_len = written.parts.is_none().then_some(written.body.len() as u64);
    let elapsed = exchange.end(answer, body_len);
    io.answered_late = LATE.contains(&elapsed);
    connection.enter(Phase::Response);
    Outgoing::new(out, written)
}

/// Begins the response to input that could not be read as a request.
pub(super) fn refuse(io: &mut Io, refusal: &Refusal) -> Outgoing {
    io.lingers = true;
    let mut out = io.buffers.take_written();
    let date = io.buffers.date(&io.connection.worker);
    let id = rescue::write_bare(refusal, &mut io.protocol, &date, &mut out);
    drop(date);
    io.connection.refused(refusal, &id);
    io.connection.enter(Phase::Response);
    Outgoing::whole(out)
}
