//! A request as a handler sees it: borrowed from the message that the bus read.
//!
//! Owns reading parameters, query, headers and JSON, with errors that name the field and the
//! request. `router` owns routing. Invariant: `target`, `path` and every parameter are ranges of
//! the message that were UTF-8 when it was routed.

use std::borrow::Cow;
use std::ops::{Range, RangeInclusive};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bus::{Bus, Finish, Flags, Incoming};
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use role::problem::{Problem, ProblemType};
use serde::de::DeserializeOwned;
use smallvec::SmallVec;

use crate::problems::{NOT_JSON, NOT_UTF8, OUT_OF_RANGE, PERCENT_ENCODING, WRONG_SHAPE};
use crate::toggles::Toggles;

/// A byte range of the message: messages are shorter than 4 GiB.
pub(crate) type Span = Range<u32>;

/// A request that was routed here.
#[derive(Clone, Debug)]
pub struct Request {
    incoming: Incoming,
    /// Path and query as received.
    target: Span,
    path_len: u32,
    shape: Rc<Shape>,
    values: SmallVec<[Span; 2]>,
}

/// What the requests of one route have in common.
#[derive(Debug)]
pub(crate) struct Shape {
    /// Parameters in the order of the path.
    pub(crate) names: Vec<String>,
    /// The toggles that the service reads.
    pub(crate) toggles: Rc<Toggles>,
}

impl Request {
    pub(crate) fn new(
        incoming: Incoming,
        target: Span,
        path_len: u32,
        shape: Rc<Shape>,
        values: SmallVec<[Span; 2]>,
    ) -> Self {
        Self { incoming, target, path_len, shape, values }
    }

    /// Checks that every `%` in a parameter and in the query begins an octet (RFC 3986 section
    /// 2.1). Decoding keeps any other `%`, so `%zz` and `%25zz` would become the same text.
    ///
    /// # Errors
    /// A 400 that names the parameter.
    pub(crate) fn check_encoding(&self) -> Result<(), Problem> {
        if !self.text(&self.target).contains('%') {
            return Ok(());
        }
        let bad = |name: &str, place: &str| {
            let detail = format!("`{name}` in the {place} has a % without two hexadecimal digits.");
            self.problem(PERCENT_ENCODING, detail).field(name.to_owned())
        };
        for (name, value) in self.shape.names.iter().zip(&self.values) {
            if !is_encoded(self.text(value)) {
                return Err(bad(name, "path"));
            }
        }
        match self.query_string().split('&').find(|pair| !is_encoded(pair)) {
            Some(pair) => Err(bad(pair.split_once('=').map_or(pair, |(name, _)| name), "query")),
            None => Ok(()),
        }
    }

    /// Completes when the request is to be answered now, with what there is: the terminator that
    /// sent it stops, or this service does. For handlers that wait for news; `bus` is the one that
    /// the request came by, [`Context::bus`](crate::Context::bus). Holds nothing of the request.
    ///
    /// **Cancel safety**: safe.
    pub fn finish(&self, bus: &Bus) -> Finish {
        bus.finish(&self.incoming)
    }

    /// The value of `x-request-id`, by which logs and problems name the request; "" without one.
    #[must_use]
    pub fn id(&self) -> &str {
        id_of(&self.incoming.envelope)
    }

    /// A problem of this request.
    pub fn problem(&self, kind: ProblemType, detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem::new(kind, detail).request_id(self.id())
    }

    /// The method, upper case.
    #[must_use]
    pub fn method(&self) -> &str {
        self.incoming.method()
    }

    /// The path as received, percent-encoded, without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.text(&(self.target.start..self.target.start + self.path_len))
    }

    /// The query as received, without its question mark; "" when there is none.
    #[must_use]
    pub fn query_string(&self) -> &str {
        self.text(&(self.target.start + self.path_len..self.target.end)).trim_start_matches('?')
    }

    /// The path parameter `name` as received, percent-encoded: what goes into the path of another
    /// request.
    ///
    /// # Panics
    /// When the route has no parameter of this name: a typing error that the first request shows.
    #[must_use]
    pub fn raw_param(&self, name: &str) -> &str {
        let at = self.shape.names.iter().position(|known| known == name);
        let at =
            at.unwrap_or_else(|| panic!("the route has no parameter {name:?}, only {:?}", self.shape.names));
        self.text(&self.values[at])
    }

    /// The path parameter `name`, decoded.
    ///
    /// # Errors
    /// A 400 when it is not UTF-8.
    ///
    /// # Panics
    /// When the route has no parameter of this name.
    pub fn param(&self, name: &str) -> Result<Cow<'_, str>, Problem> {
        percent_decode_str(self.raw_param(name)).decode_utf8().map_err(|_| {
            self.problem(NOT_UTF8, format!("`{name}` in the path is not UTF-8.")).field(name.to_owned())
        })
    }

    /// The first query parameter `name`, decoded (`+` is a space).
    #[must_use]
    pub fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        let text = self.query_string();
        if !text.contains(['%', '+']) {
            // There is nothing to decode.
            let mut pairs = text.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
            return pairs.find(|(found, _)| *found == name).map(|(_, value)| Cow::Borrowed(value));
        }
        let pairs = form_urlencoded::parse(text.as_bytes());
        pairs.into_iter().find(|(found, _)| found == name).map(|(_, value)| value)
    }

    /// The query parameter `name` as a number in `range`, or `default` when it is not there.
    ///
    /// # Errors
    /// A 400 that names the parameter, its value and the range.
    pub fn query_number(&self, name: &str, default: u64, range: RangeInclusive<u64>) -> Result<u64, Problem> {
        let Some(text) = self.query(name) else { return Ok(default) };
        match text.parse() {
            Ok(number) if range.contains(&number) => Ok(number),
            _ => {
                let (low, high) = range.into_inner();
                let detail = format!("`{name}` is {text:?}, not a whole number from {low} to {high}.");
                let problem = self.problem(OUT_OF_RANGE, detail).field(name.to_owned()).limit(high);
                Err(problem.remedy(format!("give a whole number from {low} to {high}")))
            }
        }
    }

    /// The first header field called `name` (lower case), when it is UTF-8.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.incoming.envelope.field(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Every header field called `name` (lower case), in order.
    pub fn headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let fields = self.incoming.envelope.fields();
        fields.filter(move |(found, _)| *found == name.as_bytes()).map(|(_, value)| value)
    }

    /// The body, a slice of the message: no copy.
    #[must_use]
    pub fn body(&self) -> Bytes {
        self.incoming.envelope.body()
    }

    /// The body, borrowed.
    #[must_use]
    pub fn body_bytes(&self) -> &[u8] {
        self.incoming.envelope.body_bytes()
    }

    /// The body, read as JSON.
    ///
    /// # Errors
    /// A 400 that names line and column for a text that is not JSON, a 422 that also names the
    /// field for JSON of another shape.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let body = self.body_bytes();
        // Finding the path to the field costs a second pass, so it waits for an error.
        serde_json::from_slice(body).map_err(|error| {
            if !error.is_data() {
                return self.problem(NOT_JSON, format!("The body is not JSON: {error}.")).field("body");
            }
            let mut reader = serde_json::Deserializer::from_slice(body);
            let Err(error) = serde_path_to_error::deserialize::<_, T>(&mut reader) else {
                return self.problem(WRONG_SHAPE, format!("The body does not fit: {error}.")).field("body");
            };
            let field = error.path().to_string();
            let field = if field == "." { "body".to_owned() } else { field };
            self.problem(WRONG_SHAPE, format!("`{field}`: {}.", error.inner())).field(field)
        })
    }

    /// When the batch of messages that it came in was read; after a wait at the limit, when its
    /// turn came. Reading the clock again costs a system call.
    #[must_use]
    pub fn received(&self) -> Instant {
        self.incoming.received
    }

    /// Its turn has come after a wait: requests that it causes are asked now.
    pub(crate) fn restart(&mut self, now: Instant) {
        self.incoming.received = now;
    }

    /// When the client gives up; `None` when it did not say.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.incoming.deadline
    }

    /// Time left until then.
    #[must_use]
    pub fn remaining(&self, now: Instant) -> Option<Duration> {
        self.incoming.deadline.map(|deadline| deadline.saturating_duration_since(now))
    }

    /// The request's flags.
    #[must_use]
    pub fn flags(&self) -> Flags {
        self.incoming.envelope.header().flags
    }

    /// The toggles that the service reads.
    pub(crate) fn toggles(&self) -> &Toggles {
        &self.shape.toggles
    }

    /// The message as the bus read it.
    #[must_use]
    pub fn envelope(&self) -> &bus::Envelope {
        &self.incoming.envelope
    }

    fn text(&self, span: &Span) -> &str {
        let bytes = &self.incoming.envelope.message()[span.start as usize..span.end as usize];
        std::str::from_utf8(bytes)
            .expect("the path was UTF-8 when it was routed, and is cut between characters")
    }
}

/// The id of the request in a message.
pub(crate) fn id_of(envelope: &bus::Envelope) -> &str {
    envelope.field("x-request-id").and_then(|id| std::str::from_utf8(id).ok()).unwrap_or_default()
}

/// True when two hexadecimal digits follow every `%`.
fn is_encoded(text: &str) -> bool {
    let digits =
        |rest: &str| matches!(rest.as_bytes(), [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit());
    text.split('%').skip(1).all(digits)
}
