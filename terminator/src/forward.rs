//! The road of one request: permit -> route -> head, at once; then body -> bus -> response.
//!
//! Owns: the order, and counting each request and response exactly once. Does not: choose a status (`rescue`), nor know
//! how any step works. Invariant: whatever happens there is one response, or a client that left, counted.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use bus::{Options, Reply};
use bytes::Bytes;
use http::{Method, StatusCode};
use hyper::body::Incoming;

use crate::access_log::Entry;
use crate::connection::Connection;
use crate::limit::Permit;
use crate::request::{self, Fields, Names, RequestHead, StartLine};
use crate::rescue::{self, Refusal};
use crate::response::{self, Answer};
use crate::route::Line;

/// A request that has begun: what needs no waiting is done.
#[derive(Debug)]
pub struct Begun {
    exchange: Exchange,
    head: RequestHead,
    way: Result<Way, Refusal>,
}

/// What a request needs to be asked.
#[derive(Debug)]
struct Way {
    route: bus::Route,
    line: Rc<Line>,
    /// Held until the answer is there.
    _permit: Permit,
}

/// Begins a request. Nothing of what was read is held afterwards: the next head is read into the same memory.
pub fn begin(connection: &Rc<Connection>, line: &StartLine<'_>, fields: &impl Fields) -> Begun {
    let started = Instant::now();
    let chunked = || fields.called("transfer-encoding").next().is_some();
    let ambiguous = connection.begin_request(chunked);
    let exchange = Exchange::begin(Rc::clone(connection), started);
    let (mut head, names) = RequestHead::new(line, fields, Rc::clone(connection));
    connection.remember(head.replay());
    let way = if ambiguous { Err(Refusal::Framing) } else { prepare(&mut head, line, fields, &names) };
    Begun { exchange, head, way }
}

/// The steps that may refuse.
fn prepare(
    head: &mut RequestHead,
    line: &StartLine<'_>,
    fields: &impl Fields,
    names: &Names<'_>,
) -> Result<Way, Refusal> {
    head.check_host()?;
    head.check_coding()?;
    let worker = Rc::clone(&head.connection().worker);
    let permit = worker.permits.take()?;
    if *line.method == Method::CONNECT {
        return Err(rescue::connect_refused());
    }
    let (route, known) = match worker.routes.find(&worker.bus, line.method, line.path) {
        Err(Refusal::NoRoute) if worker.settling() => {
            return Err(Refusal::Settling { limit: worker.config.settle });
        }
        found => found?,
    };
    head.encode(line, fields, names)?;
    Ok(Way { route, line: known, _permit: permit })
}

/// The body of a request.
#[derive(Debug)]
pub enum Sent {
    /// None.
    Nothing,
    /// All of it.
    Whole(Bytes),
    /// To be read.
    Coming(Incoming),
    /// To be asked for first (RFC 9110 section 10.1.1): hyper does so when it is read.
    Expected(Incoming),
}

/// Takes a request that has begun, and has `body`, to its answer.
///
/// **Cancel safety**: dropped when the client leaves; the permit and the bus's slot are given back.
#[expect(clippy::manual_async_fn, reason = "it would keep what it is given twice")]
pub fn finish(begun: Begun, mut body: Sent) -> impl Future<Output = Answer> {
    async move {
        let (outcome, line) = match &begun.way {
            Ok(way) => (ask(&begun, &mut body, way).await, Some(Rc::clone(&way.line))),
            Err(refusal) => (Err(refusal.clone()), None),
        };
        let Begun { exchange, head, .. } = begun;
        let answer = match outcome {
            Ok((status, reply)) => Answer::reply(head, status, reply),
            Err(refusal) => {
                let is_read = match body {
                    Sent::Nothing | Sent::Whole(_) => true,
                    // On the heap, as what collects one is.
                    Sent::Coming(incoming) => Box::pin(request::discard(incoming)).await,
                    Sent::Expected(_) => false,
                };
                if !is_read {
                    head.connection().leave_unread();
                }
                head.connection().worker.stats.reject(refusal.reason());
                Answer::refusal(head, &refusal)
            }
        };
        exchange.end(&answer, line.as_deref());
        answer
    }
}

/// The steps that wait: for the client's body, then for the service.
async fn ask(begun: &Begun, body: &mut Sent, way: &Way) -> Result<(StatusCode, Reply), Refusal> {
    let head = &begun.head;
    let (body, asked) = match std::mem::replace(body, Sent::Nothing) {
        Sent::Nothing => (bus::Body::new(), begun.exchange.started),
        Sent::Whole(bytes) => (bus::Body::from_iter([bytes]), begun.exchange.started),
        // The time that the client takes to send its body has a limit of its own; the deadline is the service's.
        Sent::Coming(incoming) | Sent::Expected(incoming) => {
            // On the heap: few bodies come in pieces, and every request has the room for what waits for one.
            let body = Box::pin(request::collect(incoming, head.connection())).await?;
            (body, Instant::now())
        }
    };
    let options = Options { asked, deadline: asked + way.line.deadline, flags: head.flags() };
    let reply = head.connection().worker.bus.request(way.route, head, body, options).await?;
    Ok((response::status_of(&reply)?, reply))
}

/// One request on its way; counts a client that left when it is dropped before its end.
#[derive(Debug)]
struct Exchange {
    connection: Rc<Connection>,
    started: Instant,
    ended: Cell<bool>,
}

impl Exchange {
    fn begin(connection: Rc<Connection>, started: Instant) -> Self {
        connection.worker.stats.requests.increment();
        Self { connection, started, ended: Cell::new(false) }
    }

    fn end(self, answer: &Answer, line: Option<&Line>) {
        let elapsed = self.started.elapsed();
        let worker = &self.connection.worker;
        worker.stats.responded(answer.status(), elapsed);
        if let Some(line) = line {
            line.record(elapsed);
        }
        if let Some(log) = &worker.access_log {
            let pattern = line.map(|line| &line.pattern);
            if !log.write(Entry::new(answer, pattern, elapsed, worker.id)) {
                worker.stats.access_log_dropped.increment();
            }
        }
        self.connection.begin_response(elapsed);
        self.ended.set(true);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.ended.get() {
            self.connection.worker.stats.client_gone.increment();
        }
    }
}
