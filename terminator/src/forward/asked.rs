//! A request whose body is there, until its answer is.
//!
//! Owns: asking the bus, and waiting for an instance where there is none for the moment (`hold`). Invariant: a request waits only
//! before it has been sent, or after its instance died and it may be sent again, so waiting never doubles it.

use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bus::{Call, Options, RequestError};
use bytes::Bytes;

use super::hold::{Held, Wait};
use super::{Counted, Exchange};
use crate::limit::Permit;
use crate::request::RequestHead;
use crate::rescue::Refusal;
use crate::response::Answer;
use crate::route::Line;

/// A request that a service has been asked, or is to be asked once there is an instance.
///
/// Dropped when the client leaves; the permit and the bus's slot are given back.
pub struct Asked {
    counted: Counted,
    line: Option<Rc<Line>>,
    _permit: Permit,
    body_len: usize,
    stage: Stage,
    held: Option<Box<Held>>,
}

enum Stage {
    /// Nobody claims its path yet. Emptied when it is asked.
    Unclaimed(Option<(RequestHead, bus::Body)>),
    Called(Call<RequestHead>),
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
        let body_len = body.iter().map(Bytes::len).sum();
        let (stage, line) = match route {
            Some((route, line)) => (Stage::Called(call(&counted, head, body, route, &line)), Some(line)),
            None => (Stage::Unclaimed(Some((head, body))), None),
        };
        Self { counted, line, _permit: permit, body_len, stage, held: None }
    }

    /// The answer, once. The service has been asked when this was first polled.
    #[inline]
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Answer> {
        let mut is_last = false;
        loop {
            if let Some(held) = &mut self.held {
                is_last = ready!(held.poll(&self.counted.connection.worker.bus, context)) == Wait::Over;
            }
            let refusal = match self.attempt(context) {
                Poll::Ready(Ok(answer)) => return Poll::Ready(answer),
                Poll::Ready(Err(refusal)) => refusal,
                Poll::Pending => {
                    // There was an instance.
                    self.held = None;
                    return Poll::Pending;
                }
            };
            let may_pass =
                matches!(refusal, Refusal::Settling { .. } | Refusal::Bus(RequestError::NoInstance { .. }));
            if may_pass && !is_last && self.held.is_none() {
                self.held = self.hold();
            }
            if !may_pass || is_last || self.held.is_none() {
                return Poll::Ready(refusal.into());
            }
        }
    }

    /// Asks for a place among the requests that wait for an instance.
    #[cold]
    fn hold(&self) -> Option<Box<Held>> {
        let worker = &self.counted.connection.worker;
        let deadline = self.line.as_ref().map_or(worker.config.deadline, |line| line.deadline);
        let end = (Instant::now() + worker.config.hold).min(self.counted.started + deadline);
        let held = worker.holding.hold(&worker.bus, self.body_len, end)?;
        worker.stats.requests_held.increment();
        Some(Box::new(held))
    }

    #[inline]
    fn attempt(&mut self, context: &mut Context<'_>) -> Poll<Result<Answer, Refusal>> {
        if let Stage::Unclaimed(waiting) = &mut self.stage {
            let worker = Rc::clone(&self.counted.connection.worker);
            let (head, _) = waiting.as_ref().expect("it is emptied when it is asked");
            let (route, line) = match worker.routes.find(&worker.bus, head.method(), head.path()) {
                Err(Refusal::NoRoute) => return Poll::Ready(Err(worker.unclaimed())),
                found => found?,
            };
            let (head, body) = waiting.take().expect("it was there a moment ago");
            self.stage = Stage::Called(call(&self.counted, head, body, route, &line));
            self.line = Some(line);
        }
        let Stage::Called(call) = &mut self.stage else { unreachable!("it has just been called") };
        let reply = ready!(Pin::new(call).poll(context));
        Poll::Ready(reply.map_err(Refusal::from).and_then(Answer::reply))
    }

    /// What the response needs to know.
    #[inline]
    pub fn exchange(&mut self) -> Exchange<'_> {
        let head = match &self.stage {
            Stage::Called(call) => call.head(),
            Stage::Unclaimed(waiting) => &waiting.as_ref().expect("it is emptied when it is asked").0,
        };
        Exchange { counted: &mut self.counted, head, line: self.line.as_ref() }
    }
}

/// The deadline is the service's: it does not count the time that the client took to send its body, which has a limit of its own.
#[inline]
fn call(
    counted: &Counted,
    head: RequestHead,
    body: bus::Body,
    route: bus::Route,
    line: &Line,
) -> Call<RequestHead> {
    let asked = if body.is_empty() { counted.started } else { Instant::now() };
    let options = Options { asked, deadline: asked + line.deadline, flags: head.flags() };
    counted.connection.worker.bus.request(route, head, body, options)
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked").field("line", &self.line).field("held", &self.held).finish_non_exhaustive()
    }
}
