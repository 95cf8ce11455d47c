//! What happens to a request on a worker: lookup, a place, the handler, the answer, counted.
//!
//! Owns the order of these steps, and what is answered when one of them refuses. `router`, `gate`,
//! `endpoint` and `visit` own the steps. Invariant: every request is counted once, and ends with an
//! answer or as `cancelled`.

use std::rc::Rc;
use std::time::Duration;

use bus::{Incoming, Serving};
use role::problem::Problem;
use tokio::sync::oneshot;

use crate::gate::{Admission, Gate, Permit};
use crate::problems::FULL;
use crate::request::Request;
use crate::response::IntoResponse;
use crate::router::Routes;
use crate::visit::{Tally, Visit};

/// Told to clients that are refused for want of a place: by then a queue of short requests has
/// drained.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What serves on one worker.
pub(crate) struct Worker {
    pub(crate) routes: Routes,
    pub(crate) gate: Rc<Gate>,
    pub(crate) tally: Rc<Tally>,
}

impl Worker {
    pub(crate) fn new(routes: Routes, gate: Rc<Gate>) -> Rc<Self> {
        let patterns = routes.handlers.iter().map(|handler| handler.pattern.clone()).collect();
        Rc::new(Self { routes, gate, tally: Rc::new(Tally::new(patterns)) })
    }

    /// A worker for another version of the same routes, with the places and the counters of this
    /// one; `None` when the routes differ.
    pub(crate) fn sharing(&self, routes: Routes) -> Option<Rc<Self>> {
        let patterns =
            |routes: &Routes| routes.handlers.iter().map(|one| one.pattern.clone()).collect::<Vec<_>>();
        let is_same = patterns(&self.routes) == patterns(&routes);
        is_same.then(|| Rc::new(Self { routes, gate: Rc::clone(&self.gate), tally: Rc::clone(&self.tally) }))
    }

    fn start(&self, route: usize, request: Request, visit: Visit) -> Serving {
        self.routes.handlers[route].endpoint.call(request, visit)
    }

    fn refuse(&self, problem: Problem, head: bool) -> bus::Response {
        self.tally.answer(problem.into_response(), head)
    }

    fn full(&self, request: &Request) -> Problem {
        let (limit, queue) = (self.gate.limit(), self.gate.queue_max());
        let detail = format!(
            "This worker has {limit} requests in hand and {queue} waiting, which are its limits (--limit, --queue)."
        );
        request.problem(FULL, detail).limit(limit as u64).retry_after(RETRY_AFTER)
    }
}

/// The worker as the bus sees it.
pub(crate) struct Server(pub(crate) Rc<Worker>);

impl bus::Serve for Server {
    fn serve(&self, incoming: Incoming) -> Serving {
        let worker = &self.0;
        let started = incoming.received;
        worker.tally.stats.requests.increment();
        let head = incoming.method() == "HEAD";
        let (route, request) = match worker.routes.find(incoming) {
            Ok(found) => found,
            Err(problem) => return Serving::Now(worker.refuse(problem, head)),
        };
        let visit = |permit| Visit::new(Rc::clone(&worker.tally), route, started, head, permit);
        match worker.gate.enter() {
            Admission::Now(permit) => worker.start(route, request, visit(Some(permit))),
            Admission::Later(turn) => {
                let worker = Rc::clone(worker);
                Serving::Later(Box::pin(wait_then_start(worker, route, visit(None), turn, request)))
            }
            Admission::Refused => {
                worker.tally.stats.refused.increment();
                Serving::Now(worker.refuse(worker.full(&request), head))
            }
        }
    }
}

/// Waits for a place. A request whose deadline comes first is dropped, because its client no longer
/// waits for the answer.
async fn wait_then_start(
    worker: Rc<Worker>,
    route: usize,
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
        return visit.expired(&request);
    };
    request.restart(tokio::time::Instant::now().into_std());
    visit.admit(permit.expect("the gate outlives the requests that wait at it, and keeps their places"));
    match worker.start(route, request, visit) {
        Serving::Now(response) => response,
        Serving::Later(work) => work.await,
    }
}

#[cfg(test)]
mod tests;
