//! The road of one request: permit -> route -> head, at once; then body -> bus -> response.
//!
//! Owns: the order, and counting each request and response exactly once. Does not: choose a status (`rescue`), nor know
//! how any step works. Invariant: whatever happens there is one response, or a client that left, counted.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Instant;

use bus::Options;
use http::{Method, Request, Response, header};
use http_body::Body as _;
use hyper::body::Incoming;

use crate::access_log::Entry;
use crate::connection::Connection;
use crate::limit::Permit;
use crate::request::{self, RequestHead};
use crate::rescue::{self, Refusal};
use crate::response::{self, Body};
use crate::route::Line;

/// Takes one request to its response. What needs no waiting is done in the call itself: hyper reads on as soon as it
/// returns, into the same memory when nothing holds the request's head any more.
///
/// **Cancel safety**: dropped when the client leaves; the permit and the bus's slot are given back.
pub fn forward(
    connection: Rc<Connection>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Body>, Infallible>> {
    let started = Instant::now();
    let chunked = || request.headers().contains_key(header::TRANSFER_ENCODING);
    let ambiguous = connection.begin_request(chunked);
    let exchange = Exchange::begin(Rc::clone(&connection), started);
    let (parts, incoming) = request.into_parts();
    let incoming = (!incoming.is_end_stream()).then_some(incoming);
    let mut head = RequestHead::new(parts, connection);
    head.connection().remember(head.replay());
    let way = if ambiguous { Err(Refusal::Framing) } else { prepare(&mut head) };
    respond(exchange, head, incoming, way)
}

/// What a request needs to be asked.
struct Way {
    route: bus::Route,
    line: Rc<Line>,
    /// Held until the response is there.
    _permit: Permit,
}

/// The steps that may refuse and need no waiting.
fn prepare(head: &mut RequestHead) -> Result<Way, Refusal> {
    head.check_host()?;
    let worker = &head.connection().worker;
    let permit = worker.permits.take()?;
    if head.parts().method == Method::CONNECT {
        return Err(rescue::connect_refused());
    }
    let (route, line) = worker.routes.find(&worker.bus, &head.parts().method, head.route_path())?;
    head.encode()?;
    Ok(Way { route, line, _permit: permit })
}

async fn respond(
    exchange: Exchange,
    mut head: RequestHead,
    mut incoming: Option<Incoming>,
    way: Result<Way, Refusal>,
) -> Result<Response<Body>, Infallible> {
    let (outcome, line) = match way {
        Ok(way) => (ask(&mut head, &mut incoming, exchange.started, &way).await, Some(way.line)),
        Err(refusal) => (Err(refusal), None),
    };
    let response = match outcome {
        Ok(response) => response,
        Err(refusal) => {
            if incoming.is_some() {
                head.connection().leave_unread();
            }
            head.connection().worker.stats.reject(refusal.reason());
            response::from_refusal(&mut head, &refusal)
        }
    };
    exchange.end(&head, line.as_deref(), &response);
    Ok(response)
}

/// The steps that wait: for the client's body, then for the service.
async fn ask(
    head: &mut RequestHead,
    incoming: &mut Option<Incoming>,
    started: Instant,
    way: &Way,
) -> Result<Response<Body>, Refusal> {
    let (body, asked) = match incoming.take() {
        None => (bus::Body::new(), started),
        // The time that the client takes to send its body has a limit of its own; the deadline is the service's.
        Some(incoming) => (request::collect(incoming, head.connection()).await?, Instant::now()),
    };
    let options = Options { asked, deadline: asked + way.line.deadline, flags: head.flags() };
    let reply = head.connection().worker.bus.request(way.route, &*head, body, options).await?;
    response::from_reply(head, reply)
}

/// One request on its way; counts a client that left when it is dropped before its end.
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

    fn end(self, head: &RequestHead, line: Option<&Line>, response: &Response<Body>) {
        let elapsed = self.started.elapsed();
        let worker = &self.connection.worker;
        worker.stats.responded(response.status(), elapsed);
        if let Some(line) = line {
            line.record(elapsed);
        }
        if let Some(log) = &worker.access_log {
            let pattern = line.map(|line| &line.pattern);
            log.write(Entry::new(head, pattern, response, elapsed, worker.id));
        }
        self.connection.begin_response();
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
