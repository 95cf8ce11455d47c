//! The path of one request: permit, route and encoded head as soon as its head is read; the bus and
//! the answer once its body is complete.
//!
//! Owns the order of these steps. Leaves each step to its module (`worker`, `route`, `request`,
//! crate `bus`, `response`), the choice of an error status to `rescue`, and reading and writing to
//! `serve`. Invariant: every request that begins ends as one response or as one client that left,
//! and is counted as such.

mod asked;
mod copies;
mod exchange;

use std::rc::Rc;

use http::Method;
use http1::Request;

use crate::connection::Connection;
use crate::request::{Ids, RequestHead};
use crate::rescue::{self, Refusal};
use crate::response::Answer;
use crate::route::Line;
use crate::worker::Permit;
pub use asked::Asked;
use exchange::Counted;
pub use exchange::Exchange;

/// A request whose head has been read.
#[derive(Debug)]
pub struct Begun {
    counted: Counted,
    head: RequestHead,
    admission: Result<Admitted, Answer>,
}

/// What a request needs to be sent to a service.
#[derive(Debug)]
struct Admitted {
    /// `None` when no service claims the path yet, and one that still joins may.
    route: Option<(bus::Route, Rc<Line>)>,
    /// Held until the answer is written.
    permit: Permit,
}

/// Begins a request. The result does not borrow from `request`, so that the next head can be read
/// into the same memory.
#[inline]
pub fn begin(connection: &Rc<Connection>, request: Request<'_>) -> Begun {
    let counted = Counted::begin(Rc::clone(connection));
    let (mut head, ids) = RequestHead::new(request, Rc::clone(connection));
    let admission = admit(&mut head, request, &ids);
    if admission.is_err() {
        // The refusal reads `accept` from the encoded head. If it cannot be encoded, the refusal is
        // JSON.
        let _ = head.encode(request, &ids);
    }
    Begun { counted, head, admission }
}

/// Admits a request that may be sent to a service. `Err` is the answer to any other request.
fn admit(head: &mut RequestHead, request: Request<'_>, ids: &Ids<'_>) -> Result<Admitted, Answer> {
    let worker = Rc::clone(&head.connection().worker);
    let permit = worker.permits.take()?;
    match *head.method() {
        Method::CONNECT => return Err(rescue::connect_refused().into()),
        Method::OPTIONS if request.target() == "*" => return Err(Answer::Options),
        _ => {}
    }
    let route = match worker.routes.find(&worker.bus, head.method(), request.path()) {
        Err(Refusal::NoRoute) if worker.settling() => None,
        found => Some(found?),
    };
    head.decide(request, route.as_ref().map(|(route, _)| *route));
    head.encode(request, ids).map_err(Refusal::from)?;
    Ok(Admitted { route, permit })
}

impl Begun {
    /// True when the body is sent to a service; false when the request is answered without one.
    #[inline]
    #[must_use]
    pub fn wants_body(&self) -> bool {
        self.admission.is_ok()
    }

    /// The limits that the body must keep.
    #[must_use]
    pub fn limits(&self) -> http1::Limits {
        self.head.connection().worker.config.limits.http
    }

    /// Prepares the request, with its body, to be sent to a service by the first [`Asked::poll`].
    ///
    /// # Errors
    /// The answer, when the request is answered without a service.
    #[inline]
    #[expect(clippy::result_large_err, reason = "both sides are moved once, and are of one size")]
    pub fn ask(self, body: bus::Body) -> Result<Asked, Answered> {
        let Self { counted, head, admission } = self;
        match admission {
            Ok(Admitted { route, permit }) => Ok(Asked::new(counted, head, body, route, permit)),
            Err(answer) => Err(Answered { counted, head, line: None, answer }),
        }
    }

    /// Refuses the request, because its body cannot be read.
    #[must_use]
    pub fn refuse(self, refusal: Refusal) -> Answered {
        let Self { counted, head, admission } = self;
        let line = admission.ok().and_then(|admitted| admitted.route).map(|(_, line)| line);
        Answered { counted, head, line, answer: refusal.into() }
    }
}

/// A request that is answered without a service.
#[derive(Debug)]
pub struct Answered {
    counted: Counted,
    head: RequestHead,
    line: Option<Rc<Line>>,
    answer: Answer,
}

impl Answered {
    /// The request and its answer, for writing the response.
    pub fn exchange(&mut self) -> (Exchange<'_>, &mut Answer) {
        let Self { counted, head, line, answer } = self;
        (Exchange { counted, head, line: line.as_ref() }, answer)
    }
}
