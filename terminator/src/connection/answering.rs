//! Answers: a service is asked, and what it says, or a refusal, becomes a response.
//!
//! Owns: the step from a request to the response that is to be written. Does not: choose what is
//! answered (`forward`, `rescue`).

use std::rc::Rc;
use std::task::{Context, Poll};

use http1::Phase;

use super::buffers::Place;
use super::io::{End, Io};
use super::outgoing::Outgoing;
use super::{Order, refused_bare};
use crate::forward::{Answered, Begun, Exchange};
use crate::limits::LATE;
use crate::rescue::{self, Refusal};
use crate::response::Answer;

/// What is done with a request that has been read.
pub(super) enum Ready {
    /// A service is asked.
    Asked(Place),
    /// It is answered.
    Response(Outgoing),
}

/// Asks a service, or answers at once.
#[inline]
pub(super) fn ask(io: &mut Io, begun: Begun, body: bus::Body) -> Ready {
    match begun.ask(body) {
        Ok(asked) => Ready::Asked(io.connection.worker.buffers.place(asked)),
        Err(answered) => Ready::Response(answer(io, answered)),
    }
}

/// Answers a request without a service.
pub(super) fn answer(io: &mut Io, mut answered: Answered) -> Outgoing {
    let (exchange, answer) = answered.exchange();
    respond(io, exchange, answer)
}

/// Waits for the answer to a request.
pub(super) fn poll_answer(
    io: &mut Io,
    place: &mut Place,
    context: &mut Context<'_>,
) -> Poll<Result<Outgoing, End>> {
    let order = io.connection.take_order(context.waker());
    let asked = place.as_mut().as_mut().expect("it was filled, and is emptied when it is answered");
    if let Poll::Ready(mut answer) = asked.poll(context) {
        return Poll::Ready(Ok(respond(io, asked.exchange(), &mut answer)));
    }
    if order == Some(Order::Expire) {
        // The client has ended its side, and the time for such requests is over.
        let limit = io.connection.worker.config.deadline;
        let mut answer = Answer::from(Refusal::HalfClosed { limit });
        return Poll::Ready(Ok(respond(io, asked.exchange(), &mut answer)));
    }
    let was_half_closed = io.connection.half_closed.get();
    if let Poll::Ready(end) = io.poll_gone(context) {
        return Poll::Ready(Err(end));
    }
    if io.connection.half_closed.get() != was_half_closed {
        // From now on its time is limited.
        io.connection.enter(Phase::Service);
    }
    Poll::Pending
}

/// Begins the response to a request.
#[inline]
fn respond(io: &mut Io, exchange: Exchange<'_>, answer: &mut Answer) -> Outgoing {
    let connection = Rc::clone(&io.connection);
    let worker = &connection.worker;
    // Bytes of the request are left unread.
    io.lingers |= io.protocol.phase() != Phase::Service;
    let mut out = worker.buffers.take_written();
    let date = worker.buffers.date(worker);
    let written = answer.write(exchange.head, &mut io.protocol, worker.leaving(), &date, &mut out);
    let body_len = written.parts.is_none().then_some(written.body.len() as u64);
    let elapsed = exchange.end(answer, body_len);
    io.answered_late = LATE.contains(&elapsed);
    connection.enter(Phase::Response);
    Outgoing::new(out, written)
}

/// Begins the response to what is no request.
pub(super) fn refuse(io: &mut Io, refusal: &Refusal) -> Outgoing {
    let worker = &io.connection.worker;
    io.lingers = true;
    let mut out = worker.buffers.take_written();
    let id = rescue::write_bare(refusal, &mut io.protocol, &worker.buffers.date(worker), &mut out);
    refused_bare(&io.connection, refusal, &id);
    io.connection.enter(Phase::Response);
    Outgoing::whole(out)
}
