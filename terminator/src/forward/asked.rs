//! A request that waits for its answer.
//!
//! Owns the call on the bus, and the wait for a service to claim the path while services may still
//! join. Leaves the wait for an instance of a known route to crate `bus`, and the choice of an
//! error status to `rescue`. Invariant: both waits are bounded, by `--hold` and by the deadline.

use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bus::{Call, Held, Options, To, Wait};
use bytes::Bytes;

use super::copies;
use super::exchange::{Counted, Exchange};
use crate::request::RequestHead;
use crate::rescue::Refusal;
use crate::response::Answer;
use crate::route::Line;
use crate::worker::Permit;

/// A request that was sent to a service, or waits for a service that claims its path.
///
/// Dropping it, as when the client leaves, frees the permit and the bus's slot.
pub struct Asked {
    counted: Counted,
    line: Option<Rc<Line>>,
    _permit: Permit,
    stage: Stage,
}

#[expect(clippy::large_enum_variant, reason = "nearly every request is the large one")]
enum Stage {
    Unclaimed(Box<Unclaimed>),
    Called(Call<RequestHead>),
}

/// A request whose path no service claims yet.
struct Unclaimed {
    /// `None` once it is sent.
    request: Option<(RequestHead, bus::Body)>,
    held: Option<Held>,
}

impl Asked {
    #[inline]
    pub(super) fn new(
        counted: Counted,
        head: RequestHead,
        body: bus::Body,
        route: Option<(bus::Route, Rc<Line>)>,
        permit: Permit,
    ) -> Self {
        let (stage, line) = match route {
            Some((route, line)) => (Stage::Called(call(&counted, head, body, route, &line)), Some(line)),
            None => (Stage::Unclaimed(Box::new(Unclaimed { request: Some((head, body)), held: None })), None),
        };
        Self { counted, line, _permit: permit, stage }
    }

    /// Polls for the answer; must not be called again after `Ready`. The first poll sends the
    /// request, if a service claims its path.
    #[inline]
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Answer> {
        if let Stage::Unclaimed(_) = &self.stage
            && let Err(refusal) = ready!(self.poll_claimed(context))
        {
            return Poll::Ready(refusal.into());
        }
        let Stage::Called(call) = &mut self.stage else { unreachable!("poll_claimed has sent it") };
        let reply = ready!(Pin::new(call).poll(context));
        Poll::Ready(reply.map_err(Refusal::from).and_then(Answer::reply).unwrap_or_else(Answer::from))
    }

    /// Waits until a service claims the path, at most `--hold` and while the worker is settling,
    /// then sends the request.
    #[cold]
    fn poll_claimed(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        let worker = Rc::clone(&self.counted.connection.worker);
        let Stage::Unclaimed(unclaimed) = &mut self.stage else { return Poll::Ready(Ok(())) };
        loop {
            let mut is_last = false;
            if let Some(held) = &mut unclaimed.held {
                is_last = ready!(held.poll(context)) == Wait::Over;
            }
            let (head, body) = unclaimed.request.as_ref().expect("it is not sent yet");
            match worker.routes.find(&worker.bus, head.method(), head.path()) {
                Ok((route, line)) => {
                    let (head, body) = unclaimed.request.take().expect("it was borrowed above");
                    self.stage = Stage::Called(call(&self.counted, head, body, route, &line));
                    self.line = Some(line);
                    return Poll::Ready(Ok(()));
                }
                Err(Refusal::NoRoute) if is_last || !worker.settling() => {
                    return Poll::Ready(Err(worker.unclaimed()));
                }
                Err(Refusal::NoRoute) => {}
                Err(refusal) => return Poll::Ready(Err(refusal)),
            }
            if unclaimed.held.is_none() {
                let end = Instant::now() + worker.config.hold.min(worker.config.deadline);
                unclaimed.held = worker.bus.hold(body.iter().map(Bytes::len).sum(), end);
            }
            if unclaimed.held.is_none() {
                return Poll::Ready(Err(worker.unclaimed()));
            }
        }
    }

    /// Copies the request, if the plan wants it to be copied. To be called when the response with
    /// `answer` has begun.
    #[inline]
    pub fn copy(&self, answer: &Answer) {
        if let Stage::Called(call) = &self.stage
            && let Some(decision) = call.head().decision()
            && !decision.ghosts.is_empty()
            && let Some(line) = &self.line
        {
            copies::copy(&self.counted.connection.worker, line, call, answer);
        }
    }

    /// The request, for writing its response.
    #[inline]
    pub fn exchange(&mut self) -> Exchange<'_> {
        let head = match &self.stage {
            Stage::Called(call) => call.head(),
            Stage::Unclaimed(unclaimed) => &unclaimed.request.as_ref().expect("it is not sent yet").0,
        };
        Exchange { counted: &mut self.counted, head, line: self.line.as_ref() }
    }
}

/// Sends the request. Its deadline starts when the body is complete, because the time that the
/// client takes to send the body has a limit of its own (`--body-timeout`).
#[inline]
fn call(
    counted: &Counted,
    head: RequestHead,
    body: bus::Body,
    route: bus::Route,
    line: &Line,
) -> Call<RequestHead> {
    let asked = if body.is_empty() { counted.started } else { Instant::now() };
    let worker = &counted.connection.worker;
    let (deadline, hold) = (asked + line.deadline, worker.config.hold);
    let to = head.decision().map_or(To::Any, |decision| decision.to(&worker.bus, route));
    let options = Options { asked, deadline, hold, flags: head.flags(), to };
    worker.bus.request(route, head, body, options)
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked").field("line", &self.line).finish_non_exhaustive()
    }
}
