//! A request in the hands of a worker: its place, and how its end is counted.
//!
//! Owns the end of a request: answered, panicked, expired or cancelled. Invariant: a visit is
//! counted once, whichever way it ends, and holds its place until then.

use std::any::Any;
use std::rc::Rc;
use std::time::Instant;

use role::problem::Problem;

use crate::gate::Permit;
use crate::problems::{EXPIRED, PANIC};
use crate::request::Request;
use crate::response::{IntoResponse, Response};
use crate::stats::Stats;

/// What a worker counts, and the names of its routes by their index.
pub(crate) struct Tally {
    pub(crate) stats: Stats,
    pub(crate) patterns: Vec<String>,
}

impl Tally {
    pub(crate) fn new(patterns: Vec<String>) -> Self {
        Self { stats: Stats::new(patterns.len()), patterns }
    }

    /// Counts the answer, and leaves out the body when it answers HEAD.
    pub(crate) fn answer(&self, response: Response, head: bool) -> bus::Response {
        self.stats.answered(response.status());
        let mut response = response.into_inner();
        if head && !response.body.is_empty() {
            let len = std::mem::take(&mut response.body).len();
            response = response.field("content-length", len.to_string());
        }
        response
    }
}

/// A request that waits for its handler, or that a handler works on.
pub(crate) struct Visit {
    /// `None` once it has been counted.
    tally: Option<Rc<Tally>>,
    route: usize,
    started: Instant,
    head: bool,
    /// `None` while it waits; held until the end.
    permit: Option<Permit>,
}

impl Visit {
    pub(crate) fn new(
        tally: Rc<Tally>,
        route: usize,
        started: Instant,
        head: bool,
        permit: Option<Permit>,
    ) -> Self {
        Self { tally: Some(tally), route, started, head, permit }
    }

    /// Its turn has come.
    pub(crate) fn admit(&mut self, permit: Permit) {
        self.permit = Some(permit);
    }

    /// Its deadline came before its turn.
    pub(crate) fn expired(mut self, request: &Request) -> bus::Response {
        let tally = self.end();
        tally.stats.expired.increment();
        let problem = request.problem(EXPIRED, "The deadline passed before the request's turn came.");
        tally.answer(problem.into_response(), self.head)
    }

    pub(crate) fn finish(mut self, response: Response) -> bus::Response {
        let tally = self.end();
        tally.stats.took(self.route, response.status(), self.started.elapsed());
        tally.answer(response, self.head)
    }

    /// The answer of a handler that panicked; the worker continues.
    pub(crate) fn panicked(self, panic: &(dyn Any + Send)) -> bus::Response {
        if let Some(tally) = &self.tally {
            tally.stats.panics.increment();
            let reason = panic.downcast_ref::<&str>().copied();
            let reason = reason.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("?");
            tracing::error!(route = tally.patterns[self.route], reason, "a handler panicked");
        }
        let problem = Problem::new(PANIC, "The service has an error of its own; it is in its log.");
        self.finish(problem.into_response())
    }

    fn end(&mut self) -> Rc<Tally> {
        self.tally.take().expect("a visit ends once")
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if let Some(tally) = self.tally.take() {
            tally.stats.cancelled.increment();
        }
    }
}
