//! The road of a request through a worker: lookup, a place, the handler, the answer, counted.
//!
//! Owns: the order of these steps, and what is answered when one of them refuses. Does not own: the steps.
//! Invariant: every request is counted once, and leaves by an answer or by `cancelled`.

use std::any::Any;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bus::{Incoming, Serving};
use tokio::sync::oneshot;

use crate::gate::{Entry, Gate, Permit};
use crate::problem::Problem;
use crate::request::Request;
use crate::response::{IntoResponse, Response};
use crate::router::Routes;
use crate::stats::Stats;

/// Told to those who are refused for want of a place: by then a queue of short requests has drained.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What serves on one worker.
pub(crate) struct Worker {
    pub(crate) routes: Routes,
    pub(crate) gate: Rc<Gate>,
    pub(crate) stats: Stats,
}

impl Worker {
    pub(crate) fn new(routes: Routes, gate: Rc<Gate>) -> Rc<Self> {
        let stats = Stats::new(routes.entries.len());
        Rc::new(Self { routes, gate, stats })
    }

    fn start(&self, route: usize, request: Request, visit: Visit) -> Serving {
        self.routes.entries[route].endpoint.call(request, visit)
    }

    fn refuse(&self, problem: Problem, head: bool) -> bus::Response {
        self.answer(problem.into_response(), head)
    }

    fn answer(&self, response: Response, head: bool) -> bus::Response {
        self.stats.answered(response.status());
        let mut response = response.into_inner();
        if head && !response.body.is_empty() {
            let len = std::mem::take(&mut response.body).len();
            response = response.field("content-length", len.to_string());
        }
        response
    }

    fn full(&self) -> Problem {
        let (limit, queue) = (self.gate.limit(), self.gate.queue_max());
        let detail = format!(
            "This worker has {limit} requests in hand and {queue} waiting, which are its limits (--limit, --queue)."
        );
        Problem::new(503, detail).reason("full").limit(limit as u64).retry_after(RETRY_AFTER)
    }
}

/// The worker as the bus sees it.
pub(crate) struct Server(pub(crate) Rc<Worker>);

impl bus::Serve for Server {
    fn serve(&self, incoming: Incoming) -> Serving {
        let worker = &self.0;
        let started = incoming.received;
        worker.stats.requests.increment();
        let head = incoming.method() == "HEAD";
        let (route, request) = match worker.routes.find(incoming) {
            Ok(found) => found,
            Err(problem) => return Serving::Now(worker.refuse(problem, head)),
        };
        let visit = |permit| Visit { worker: Some(Rc::clone(worker)), route, started, head, permit };
        match worker.gate.enter() {
            Entry::Enter(permit) => worker.start(route, request, visit(Some(permit))),
            Entry::Wait(turn) => Serving::Later(Box::pin(wait_then_start(visit(None), turn, request))),
            Entry::Full => {
                worker.stats.refused.increment();
                Serving::Now(worker.refuse(worker.full(), head))
            }
        }
    }
}

/// Waits for a place, and drops the request when its deadline comes first: nobody waits for the answer then.
async fn wait_then_start(
    mut visit: Visit,
    turn: oneshot::Receiver<Permit>,
    mut request: Request,
) -> bus::Response {
    let permit = match request.deadline() {
        Some(deadline) => tokio::time::timeout_at(deadline.into(), turn).await.ok(),
        None => Some(turn.await),
    };
    let expired =
        request.deadline().is_some_and(|deadline| deadline <= tokio::time::Instant::now().into_std());
    let Some(permit) = permit.filter(|_| !expired) else {
        return visit.expired();
    };
    request.restart(tokio::time::Instant::now().into_std());
    visit.permit =
        Some(permit.expect("the gate outlives those who wait at it, and never drops their places"));
    let (worker, route) = (Rc::clone(visit.worker()), visit.route);
    match worker.start(route, request, visit) {
        Serving::Now(response) => response,
        Serving::Later(work) => work.await,
    }
}

/// A request that waits for the handler, or is in its hands: its place, and how it is counted.
pub(crate) struct Visit {
    /// `None` once it has been counted.
    worker: Option<Rc<Worker>>,
    route: usize,
    started: Instant,
    head: bool,
    /// `None` while it waits; held until the end.
    permit: Option<Permit>,
}

impl Visit {
    fn worker(&self) -> &Rc<Worker> {
        self.worker.as_ref().expect("a visit ends once")
    }

    /// Its deadline came first.
    fn expired(mut self) -> bus::Response {
        let worker = self.worker.take().expect("a visit ends once");
        worker.stats.expired.increment();
        let problem =
            Problem::new(504, "The deadline passed before the request's turn came.").reason("expired");
        worker.refuse(problem, self.head)
    }

    pub(crate) fn finish(mut self, response: Response) -> bus::Response {
        let worker = self.worker.take().expect("a visit ends once");
        worker.stats.took(self.route, response.status(), self.started.elapsed());
        worker.answer(response, self.head)
    }

    /// The answer of a handler that panicked; the worker goes on.
    pub(crate) fn panicked(self, panic: &(dyn Any + Send)) -> bus::Response {
        let worker = self.worker();
        worker.stats.panics.increment();
        let reason = panic.downcast_ref::<&str>().copied();
        let reason = reason.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("?");
        tracing::error!(route = worker.routes.entries[self.route].pattern, reason, "a handler panicked");
        let problem =
            Problem::new(500, "The service has an error of its own; it is in its log.").reason("panic");
        self.finish(problem.into_response())
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if let Some(worker) = self.worker.take() {
            worker.stats.cancelled.increment();
        }
    }
}

#[cfg(test)]
mod tests;
