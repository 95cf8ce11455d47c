//! HTTP to envelope: the head of a request as the bus sends it.
//!
//! Owns which headers are forwarded and which are added (`x-forwarded-*`, `x-request-id`,
//! `traceparent`). Leaves parsing to crate `http1`, the buffers to `worker`, and the validation of
//! ids to `trace`. Invariant: fields are encoded once, into a buffer of the worker's, so a retry
//! sends the same bytes, and the memory that the head was read into is free once it is encoded.

mod forwarded;

use std::net::IpAddr;
use std::rc::Rc;

use bus::proto::retry::is_idempotent;
use bus::{Flags, Head, HeadWriter, RequestError, Route};
use http::Method;
use http1::{Field, Request};
use role::accept::Media;

use crate::connection::Connection;
use crate::live::Decision;
use crate::trace::{REQUEST_ID, RequestId, Traceparent};
use crate::worker::EncodedHead;
use forwarded::Forwarding;

const ID: &[u8] = REQUEST_ID.as_bytes();
const TRACEPARENT: &[u8] = b"traceparent";
const TRACESTATE: &[u8] = b"tracestate";
const SCHEME: &str = "http";

/// The head of one request, independent of the memory that it was read into.
#[derive(Debug)]
pub struct RequestHead {
    method: Method,
    /// `None` when the access log is off.
    logged: Option<Box<Logged>>,
    encoded: EncodedHead,
    connection: Rc<Connection>,
    flags: Flags,
    forwarding: Forwarding,
    decision: Option<Rc<Decision>>,
}

/// The parts of a head that only the access log needs.
#[derive(Debug)]
struct Logged {
    target: Box<str>,
    client: Option<IpAddr>,
}

/// The identifiers of a request, until [`RequestHead::encode`] has written them.
#[derive(Debug)]
pub struct Ids<'a> {
    id: RequestId<'a>,
    trace: Traceparent,
}

impl RequestHead {
    /// Starts the head of `request`. Generates an id and a trace where the client sent none that is
    /// valid.
    #[must_use]
    pub fn new(request: Request<'_>, connection: Rc<Connection>) -> (Self, Ids<'_>) {
        let mut forwarding = Forwarding::default();
        let (mut id, mut trace) = (None, None);
        let mut traces = 0;
        for field in request.fields() {
            // No field that is looked for starts with another letter.
            if !matches!(field.name.first(), Some(b'c' | b'f' | b't' | b'x')) {
                continue;
            }
            match field.name {
                ID => id = RequestId::kept(field.value),
                // Several are as good as none (W3C Trace Context section 3.2).
                TRACEPARENT => (trace, traces) = (Traceparent::kept(field.value), traces + 1),
                name => forwarding.note(name),
            }
        }
        if !connection.peer.is_trusted {
            forwarding = Forwarding::default();
        }
        let random = [fastrand::u64(..), fastrand::u64(..)];
        let id = id.unwrap_or_else(|| RequestId::made(random));
        let trace =
            trace.filter(|_| traces == 1).unwrap_or_else(|| Traceparent::made(random, fastrand::u64(..)));
        let worker = &connection.worker;
        let mut encoded = worker.heads.take();
        encoded.begin(id.as_bytes(), request.path());
        let logged = worker.access_log.as_ref().map(|_| {
            let client = forwarded::client(request, &connection, forwarding);
            Box::new(Logged { target: request.target().into(), client })
        });
        let method = Method::from_bytes(request.method().as_bytes()).expect("every token is a method");
        let idempotent = if is_idempotent(method.as_str()) { Flags::IDEMPOTENT } else { Flags::NONE };
        let sampled = if trace.sampled() { Flags::SAMPLED } else { Flags::NONE };
        let flags = idempotent.union(sampled);
        let head = Self { method, logged, encoded, connection, flags, forwarding, decision: None };
        (head, Ids { id, trace })
    }

    /// Decides the toggles and versions of `request`, the request that this head was made from, for
    /// the service that `route` belongs to. To be called before [`encode`](Self::encode).
    #[inline]
    pub fn decide(&mut self, request: Request<'_>, route: Option<Route>) {
        let worker = &self.connection.worker;
        let client = || forwarded::client(request, &self.connection, self.forwarding);
        self.decision = worker.decisions.decide(&worker.bus, route, request, client);
    }

    /// The decision; `None` when the plan changes nothing.
    #[must_use]
    pub fn decision(&self) -> Option<&Decision> {
        self.decision.as_deref()
    }

    /// The request id.
    #[must_use]
    pub fn id(&self) -> &str {
        std::str::from_utf8(self.id_bytes()).expect("an id is ASCII, sent or generated")
    }

    /// The request id as bytes; ASCII.
    #[must_use]
    pub fn id_bytes(&self) -> &[u8] {
        self.encoded.id()
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Path and query; empty when the access log is off.
    #[must_use]
    pub fn target(&self) -> &str {
        self.logged.as_ref().map_or("", |logged| &logged.target)
    }

    /// The address of the client, taken from a trusted proxy's headers where there are any; `None`
    /// when the access log is off or the address is unknown.
    #[must_use]
    pub fn client(&self) -> Option<IpAddr> {
        self.logged.as_ref().and_then(|logged| logged.client)
    }

    /// The connection that the request was read from.
    #[must_use]
    pub fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }

    /// The path without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.encoded.path()
    }

    /// The encoded fields, once [`encode`](Self::encode) has written them.
    #[must_use]
    pub fn fields(&self) -> &[u8] {
        self.encoded.fields()
    }

    /// True when the client prefers HTML to JSON (`accept`).
    #[must_use]
    pub fn prefers_html(&self) -> bool {
        Media::preferred(self.encoded.called(b"accept").into_iter()) == Some(Media::Html)
    }

    /// Encodes the fields of `request`, the request that this head and `ids` were made from.
    ///
    /// # Errors
    /// A field that is too long for the envelope.
    pub fn encode(&mut self, request: Request<'_>, ids: &Ids<'_>) -> Result<(), RequestError> {
        let mut encoded = std::mem::take(&mut self.encoded);
        let written = encoded.write(|head| self.write(request, ids, head));
        self.encoded = encoded;
        written
    }

    /// The flags of the envelope.
    #[must_use]
    pub fn flags(&self) -> Flags {
        self.flags
    }

    fn write(&self, request: Request<'_>, ids: &Ids<'_>, head: &mut HeadWriter<'_>) {
        let host = || request.called(b"host").next().unwrap_or_default();
        let authority = request.authority().unwrap_or_else(host);
        head.field(":method", self.method.as_str());
        head.field(":path", request.target());
        if !authority.is_empty() {
            head.field(":authority", authority);
        }
        head.field(":scheme", SCHEME);
        if let Some(decision) = &self.decision {
            head.encoded(&decision.fields);
        }
        for field in request.fields() {
            let is_forwarded = match field.name.first() {
                Some(b'c' | b'e' | b'f' | b'h' | b't' | b'x') => self.forwards(field, ids),
                _ => !field.ends_here,
            };
            if is_forwarded {
                head.field(field.name, field.value);
            }
        }
        self.forwarding.write(request, head, &self.connection.peer, authority, SCHEME);
        head.field(ID, ids.id.as_bytes());
        head.field(TRACEPARENT, ids.trace.as_bytes());
    }

    /// True when the field is forwarded unchanged.
    fn forwards(&self, field: Field<'_>, ids: &Ids<'_>) -> bool {
        match field.name {
            // Host is sent as `:authority`; the terminator answers Expect itself; the ids are
            // added.
            b"host" | b"expect" | ID | TRACEPARENT => false,
            // It is only valid with the traceparent that it came with.
            TRACESTATE => ids.trace.is_kept() && !field.ends_here,
            name if forwarded::is_forwarding(name) => self.forwarding.forwards(name),
            _ => !field.ends_here,
        }
    }
}

impl Drop for RequestHead {
    fn drop(&mut self) {
        self.connection.worker.heads.give_back(std::mem::take(&mut self.encoded));
    }
}

impl Head for RequestHead {
    fn encode(&self, head: &mut HeadWriter<'_>) {
        head.encoded(self.fields());
    }
}
