//! HTTP -> envelope: the head of a request as the bus sends it.
//!
//! Owns: which headers go on, what is added (`x-forwarded-*`, `x-request-id`, `traceparent`). Does not: allocate per
//! field; they are written once, out of hyper's buffer (`encoded`). Invariant: what is sent is the same for every
//! instance a request is sent to.

mod body;
mod encoded;
mod hop;
mod host;
mod trace;

use std::rc::Rc;

use bus::{Flags, Head, HeadWriter, RequestError};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, header};

pub use body::collect;
use encoded::Encoded;
pub use encoded::Heads;
pub use hop::{is_hop_by_hop, is_named_by};
pub use trace::RequestId;
use trace::Traceparent;

use crate::config::Forwarded;
use crate::connection::{Connection, Replay};
use crate::rescue::Refusal;

const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED_PROTO: &str = "x-forwarded-proto";
const FORWARDED_HOST: &str = "x-forwarded-host";
const REQUEST_ID: &str = "x-request-id";
const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
const SCHEME: &str = "http";

/// A request's head, read once, ready to be written as an envelope's.
#[derive(Debug)]
pub struct RequestHead {
    parts: Parts,
    encoded: Option<Encoded>,
    connection: Rc<Connection>,
    id: RequestId,
    trace: Traceparent,
    /// What the one look at the headers found.
    found: Found,
}

#[derive(Clone, Copy, Debug, Default)]
struct Found {
    connection: hop::Options,
    forwarded_for: bool,
    forwarded_proto: bool,
    forwarded_host: bool,
    host: Host,
}

/// `Host`, of which there has to be one.
#[derive(Clone, Copy, Debug, Default)]
enum Host {
    #[default]
    Missing,
    Valid,
    /// No host, or one too many.
    Wrong,
}

impl RequestHead {
    /// Looks at the headers once; makes an id and a trace where the client sent none that may be kept.
    #[must_use]
    pub fn new(parts: Parts, connection: Rc<Connection>) -> Self {
        let mut found = Found::default();
        let (mut id, mut trace) = (None, None);
        let mut traces = 0;
        for (name, value) in &parts.headers {
            if *name == header::CONNECTION {
                found.connection.add(value);
                continue;
            }
            if *name == header::HOST {
                let valid = matches!(found.host, Host::Missing) && host::is_valid(value.as_bytes());
                found.host = if valid { Host::Valid } else { Host::Wrong };
                continue;
            }
            match name.as_str() {
                REQUEST_ID => id = RequestId::kept(value),
                // More than one: whom to believe? (W3C Trace Context section 3.2.)
                TRACEPARENT => (trace, traces) = (Traceparent::kept(value), traces + 1),
                FORWARDED_FOR => found.forwarded_for = true,
                FORWARDED_PROTO => found.forwarded_proto = true,
                FORWARDED_HOST => found.forwarded_host = true,
                _ => {}
            }
        }
        if connection.worker.config.forwarded == Forwarded::Replace {
            found = Found { connection: found.connection, host: found.host, ..Found::default() };
        }
        let random = [fastrand::u64(..), fastrand::u64(..)];
        let id = id.unwrap_or_else(|| RequestId::made(random));
        let trace =
            trace.filter(|_| traces == 1).unwrap_or_else(|| Traceparent::made(random, fastrand::u64(..)));
        Self { parts, encoded: None, connection, id, trace, found }
    }

    /// The request's id, kept or made.
    #[must_use]
    pub fn id(&self) -> &RequestId {
        &self.id
    }

    /// The request's line and headers, as hyper read them.
    #[must_use]
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Whose request it is.
    #[must_use]
    pub fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }

    /// The path without the query, as routes match it.
    #[must_use]
    pub fn route_path(&self) -> &str {
        self.encoded.as_ref().map_or_else(|| self.parts.uri.path(), Encoded::path)
    }

    /// Writes it as the envelope has it, and lets the memory go that hyper read it into: hyper reads the next bytes
    /// into the same, rather than into 8 KiB more. What is known of the request afterwards is what others need.
    ///
    /// # Errors
    /// A field that is too long for the wire.
    pub fn encode(&mut self) -> Result<(), RequestError> {
        let worker = &self.connection.worker;
        let mut encoded = worker.heads.take();
        let written = encoded.write(self.route_path(), |head| self.write(head));
        self.encoded = Some(encoded);
        written?;
        self.parts.headers.clear();
        let path = self.connection.worker.access_log.as_ref().and(self.parts.uri.path_and_query());
        self.parts.uri = path.map_or_else(Uri::default, copied);
        Ok(())
    }

    /// Checks that it names its host as its version has to (RFC 9112 section 3.2).
    ///
    /// # Errors
    /// [`Refusal::Host`].
    #[inline]
    pub fn check_host(&self) -> Result<(), Refusal> {
        match self.found.host {
            Host::Valid => Ok(()),
            Host::Missing if self.parts.version < Version::HTTP_11 => Ok(()),
            Host::Missing | Host::Wrong => Err(Refusal::Host),
        }
    }

    /// What of it decides how its response is written.
    #[inline]
    #[must_use]
    pub fn replay(&self) -> Replay {
        let is_1_0 = self.parts.version < Version::HTTP_11;
        let persists = self.found.connection.persists(is_1_0);
        Replay { is_head: self.parts.method == Method::HEAD, is_1_0, persists }
    }

    /// The flags of its envelope.
    #[must_use]
    pub fn flags(&self) -> Flags {
        let idempotent = if is_idempotent(&self.parts.method) { Flags::IDEMPOTENT } else { Flags::NONE };
        let sampled = if self.trace.sampled() { Flags::SAMPLED } else { Flags::NONE };
        idempotent.union(sampled)
    }

    /// The emptied header map, for the response: its memory serves again.
    #[must_use]
    pub fn take_headers(&mut self) -> HeaderMap {
        let mut headers = std::mem::take(&mut self.parts.headers);
        headers.clear();
        headers
    }

    fn authority(&self) -> &[u8] {
        match self.parts.uri.authority() {
            // The request line wins over Host (RFC 9112 section 3.2.2).
            Some(authority) => authority.as_str().as_bytes(),
            None => self.parts.headers.get(header::HOST).map_or(b"", HeaderValue::as_bytes),
        }
    }

    fn encode_headers(&self, head: &mut HeadWriter<'_>) {
        let headers = &self.parts.headers;
        for (name, value) in headers {
            if self.goes_on(name) && !(self.found.connection.named && is_named_by(headers, name)) {
                head.field(name.as_str(), value.as_bytes());
            }
        }
    }

    /// Whether the header is written as it came.
    #[inline]
    fn goes_on(&self, name: &HeaderName) -> bool {
        // Host has become `:authority`; Expect has been answered here.
        if is_hop_by_hop(name) || *name == header::HOST || *name == header::EXPECT {
            return false;
        }
        match name.as_str() {
            FORWARDED_FOR | REQUEST_ID | TRACEPARENT => false,
            FORWARDED_PROTO => self.found.forwarded_proto,
            FORWARDED_HOST => self.found.forwarded_host,
            // It belongs to the traceparent that it came with.
            TRACESTATE => self.trace.is_kept(),
            _ => true,
        }
    }

    fn encode_forwarded(&self, head: &mut HeadWriter<'_>, authority: &[u8]) {
        let client = self.connection.peer.text.as_bytes();
        if self.found.forwarded_for {
            self.encode_forwarded_for(head, client);
        } else if !client.is_empty() {
            head.field(FORWARDED_FOR, client);
        }
        if !self.found.forwarded_proto {
            head.field(FORWARDED_PROTO, SCHEME);
        }
        if !self.found.forwarded_host && !authority.is_empty() {
            head.field(FORWARDED_HOST, authority);
        }
    }

    /// The addresses that came, and the client's behind them, as one field.
    #[cold]
    fn encode_forwarded_for(&self, head: &mut HeadWriter<'_>, client: &[u8]) {
        let came = self.parts.headers.get_all(FORWARDED_FOR).iter().map(HeaderValue::as_bytes);
        let mut pieces: Vec<&[u8]> = Vec::new();
        for piece in came.chain(std::iter::once(client)).filter(|piece| !piece.is_empty()) {
            if !pieces.is_empty() {
                pieces.push(b", ");
            }
            pieces.push(piece);
        }
        head.field_pieces(FORWARDED_FOR, &pieces);
    }
}

impl Drop for RequestHead {
    fn drop(&mut self) {
        if let Some(encoded) = self.encoded.take() {
            self.connection.worker.heads.give_back(encoded);
        }
    }
}

impl Head for &RequestHead {
    fn encode(&self, head: &mut HeadWriter<'_>) {
        match &self.encoded {
            Some(encoded) => head.encoded(encoded.fields()),
            None => self.write(head),
        }
    }
}

impl RequestHead {
    fn write(&self, head: &mut HeadWriter<'_>) {
        let authority = self.authority();
        head.field(":method", self.parts.method.as_str());
        head.field(":path", self.parts.uri.path_and_query().map_or("/", PathAndQuery::as_str));
        if !authority.is_empty() {
            head.field(":authority", authority);
        }
        head.field(":scheme", SCHEME);
        self.encode_headers(head);
        self.encode_forwarded(head, authority);
        head.field(REQUEST_ID, self.id.as_bytes());
        head.field(TRACEPARENT, self.trace.as_bytes());
    }
}

/// What the access log writes of a URI, in memory of its own.
fn copied(path: &PathAndQuery) -> Uri {
    PathAndQuery::try_from(path.as_str()).expect("it was parsed from the same text").into()
}

/// Methods that may be sent again (RFC 9110 section 9.2.2, less TRACE).
fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::PUT | Method::DELETE | Method::OPTIONS)
}
