//! The path of one request: permit -> route -> head, at once; then, when its body is there, bus ->
//! answer.
//!
//! Owns: the order, and counting each request and response exactly once. Does not: choose a status
//! (`rescue`), nor know how any step works. Invariant: whatever happens there is one response, or a
//! client that left, counted.

mod asked;

use std::rc::Rc;
use std::time::{Duration, Instant};

use http::Method;
use http1::Request;

use crate::access_log::Entry;
use crate::connection::Connection;
use crate::limit::Permit;
use crate::request::{Names, RequestHead};
use crate::rescue::{self, Refusal};
use crate::response::Answer;
use crate::route::Line;
pub use asked::Asked;

/// A request whose head has been read.
#[derive(Debug)]
pub struct Begun {
    counted: Counted,
    head: RequestHead,
    way: Result<Way, Answer>,
}

/// Where a request goes.
#[derive(Debug)]
struct Way {
    /// `None` when nobody claims it yet: a service that is expected may.
    route: Option<(bus::Route, Rc<Line>)>,
    /// Held until the answer is there.
    permit: Permit,
}

/// Begins a request. Nothing of what was read is held afterwards: the next head is read into the
/// same memory.
#[inline]
pub fn begin(connection: &Rc<Connection>, request: Request<'_>) -> Begun {
    let counted = Counted::begin(Rc::clone(connection));
    let (mut head, names) = RequestHead::new(request, Rc::clone(connection));
    let way = prepare(&mut head, request, &names);
    if way.is_err() {
        // The refusal asks it what its client would like to read; of a head that cannot be encoded
        // that is JSON.
        let _ = head.encode(request, &names);
    }
    Begun { counted, head, way }
}

/// The steps that may refuse.
fn prepare(head: &mut RequestHead, request: Request<'_>, names: &Names<'_>) -> Result<Way, Answer> {
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
    head.encode(request, names).map_err(Refusal::from)?;
    Ok(Way { route, permit })
}

impl Begun {
    /// True when its body is wanted; otherwise it is answered without a service.
    #[inline]
    #[must_use]
    pub fn wants_body(&self) -> bool {
        self.way.is_ok()
    }

    /// The limits of its body.
    #[must_use]
    pub fn limits(&self) -> http1::Limits {
        self.head.connection().worker.config.limits.http
    }

    /// Asks a service.
    ///
    /// # Errors
    /// The answer that needs none.
    #[inline]
    #[expect(clippy::result_large_err, reason = "both sides are moved once, and are of one size")]
    pub fn ask(self, body: bus::Body) -> Result<Asked, Answered> {
        let Self { counted, head, way } = self;
        match way {
            Ok(Way { route, permit }) => Ok(Asked::new(counted, head, body, route, permit)),
            Err(answer) => Err(Answered { counted, head, line: None, answer }),
        }
    }

    /// Refuses it: its body cannot be read.
    #[must_use]
    pub fn refuse(self, refusal: Refusal) -> Answered {
        let Self { counted, head, way } = self;
        let line = way.ok().and_then(|way| way.route).map(|(_, line)| line);
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
    /// What the response needs to know, and the answer.
    pub fn exchange(&mut self) -> (Exchange<'_>, &mut Answer) {
        let Self { counted, head, line, answer } = self;
        (Exchange { counted, head, line: line.as_ref() }, answer)
    }
}

/// A request and its answer, about to be written.
#[derive(Debug)]
pub struct Exchange<'a> {
    pub(crate) counted: &'a mut Counted,
    /// The request.
    pub head: &'a RequestHead,
    pub(crate) line: Option<&'a Rc<Line>>,
}

impl Exchange<'_> {
    /// Counts and logs the response, whose body has so many bytes where that is known; how long it
    /// was in coming.
    #[inline]
    pub fn end(self, answer: &Answer, body_len: Option<u64>) -> Duration {
        let elapsed = self.counted.started.elapsed();
        self.counted.ended = true;
        let worker = &self.counted.connection.worker;
        if let Answer::Refusal(refusal) = answer {
            worker.stats.reject(refusal.reason());
        }
        worker.stats.count_status(answer.status());
        if let Some(line) = self.line {
            line.record(answer.status(), elapsed);
        }
        let pattern = self.line.map(|line| &line.pattern);
        worker.log(|| Entry::new(self.head, answer.status(), body_len, pattern, elapsed, worker.id));
        elapsed
    }
}

/// One request on its way; counts a client that left when it is dropped before its end.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) connection: Rc<Connection>,
    pub(crate) started: Instant,
    ended: bool,
}

impl Counted {
    #[inline]
    fn begin(connection: Rc<Connection>) -> Self {
        connection.worker.stats.requests.increment();
        Self { connection, started: Instant::now(), ended: false }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if !self.ended {
            self.connection.worker.stats.client_gone.increment();
        }
    }
}
