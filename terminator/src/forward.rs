//! The road of one request, the one async function of it: permit -> route -> body -> bus -> response.
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
use crate::request::{self, RequestHead};
use crate::rescue::{self, Refusal};
use crate::response::{self, Body};
use crate::route::Line;

/// Takes one request to its response.
///
/// **Cancel safety**: dropped when the client leaves; the permit and the bus's slot are given back.
pub async fn forward(
    connection: Rc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let started = Instant::now();
    let chunked = || request.headers().contains_key(header::TRANSFER_ENCODING);
    let ambiguous = connection.begin_request(chunked);
    let exchange = Exchange::begin(&connection, started);
    let (parts, incoming) = request.into_parts();
    let mut incoming = (!incoming.is_end_stream()).then_some(incoming);
    let mut head = RequestHead::new(parts, Rc::clone(&connection));
    let mut line = None;
    let outcome = match ambiguous {
        true => Err(Refusal::Framing),
        false => answer(&mut head, &mut incoming, started, &mut line).await,
    };
    let response = match outcome {
        Ok(response) => response,
        Err(refusal) => {
            if incoming.is_some() {
                connection.leave_unread();
            }
            connection.worker.stats.reject(refusal.reason());
            response::from_refusal(&mut head, &refusal)
        }
    };
    exchange.end(&head, line.as_deref(), &response);
    Ok(response)
}

/// The steps that may refuse.
async fn answer(
    head: &mut RequestHead,
    incoming: &mut Option<Incoming>,
    started: Instant,
    line: &mut Option<Rc<Line>>,
) -> Result<Response<Body>, Refusal> {
    head.check_host()?;
    let connection = Rc::clone(head.connection());
    let worker = &connection.worker;
    let _permit = worker.permits.take()?;
    if head.parts().method == Method::CONNECT {
        return Err(rescue::connect_refused());
    }
    let (route, found) = worker.routes.find(&worker.bus, &head.parts().method, head.route_path())?;
    let deadline = found.deadline;
    *line = Some(found);
    let (body, asked) = match incoming.take() {
        None => (bus::Body::new(), started),
        // The time that the client takes to send its body has a limit of its own; the deadline is the service's.
        Some(incoming) => (request::collect(incoming, &connection).await?, Instant::now()),
    };
    let options = Options { deadline: asked + deadline, flags: head.flags() };
    let reply = worker.bus.request(route, &*head, body, options).await?;
    response::from_reply(head, reply)
}

/// One request on its way; counts a client that left when it is dropped before its end.
struct Exchange<'a> {
    connection: &'a Connection,
    started: Instant,
    ended: Cell<bool>,
}

impl<'a> Exchange<'a> {
    fn begin(connection: &'a Connection, started: Instant) -> Self {
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

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        if !self.ended.get() {
            self.connection.worker.stats.client_gone.increment();
        }
    }
}
