//! HTTP -> envelope: the head of a request as the bus sends it.
//!
//! Owns: which headers go on, what is added (`x-forwarded-*`, `x-request-id`, `traceparent`). Does
//! not: parse, allocate per field, or hold the memory that the head was read into; fields are
//! written once (`encoded`). Invariant: what is sent is the same for every instance that a request
//! is sent to.

mod encoded;
mod forwarded;
mod trace;

use std::net::IpAddr;
use std::rc::Rc;

use bus::proto::retry::is_idempotent;
use bus::{Flags, Head, HeadWriter, RequestError};
use http::Method;
use http1::{Field, Request};
use role::accept::Media;

use encoded::Encoded;
pub use encoded::Heads;
use forwarded::Forwarding;
pub use trace::RequestId;
use trace::Traceparent;

use crate::connection::Connection;

/// The header that carries a request's id both ways.
pub const REQUEST_ID: &str = "x-request-id";
const ID: &[u8] = REQUEST_ID.as_bytes();
const TRACEPARENT: &[u8] = b"traceparent";
const TRACESTATE: &[u8] = b"tracestate";
const SCHEME: &str = "http";

/// A request's head as the stages behind the parser need it; it holds nothing that was read.
#[derive(Debug)]
pub struct RequestHead {
    method: Method,
    /// For the access log alone.
    logged: Option<Box<Logged>>,
    encoded: Encoded,
    connection: Rc<Connection>,
    flags: Flags,
    forwarding: Forwarding,
}

/// What only the access log needs.
#[derive(Debug)]
struct Logged {
    target: Box<str>,
    client: Option<IpAddr>,
}

/// How a request is told from others: needed until its head is encoded, which keeps the id.
#[derive(Debug)]
pub struct Names<'a> {
    id: RequestId<'a>,
    trace: Traceparent,
}

impl RequestHead {
    /// Looks at the fields once; makes an id and a trace where the client sent none that may be
    /// kept.
    #[must_use]
    pub fn new(request: Request<'_>, connection: Rc<Connection>) -> (Self, Names<'_>) {
        let mut forwarding = Forwarding::default();
        let (mut id, mut trace) = (None, None);
        let mut traces = 0;
        for field in request.fields() {
            // The other names are nothing to this loop.
            if !matches!(field.name.first(), Some(b'c' | b'f' | b't' | b'x')) {
                continue;
            }
            match field.name {
                ID => id = RequestId::kept(field.value),
                // More than one: whom to believe? (W3C Trace Context section 3.2.)
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
        (Self { method, logged, encoded, connection, flags, forwarding }, Names { id, trace })
    }

    /// The request's id, kept or made.
    #[must_use]
    pub fn id(&self) -> &str {
        std::str::from_utf8(self.id_bytes()).expect("harmless ASCII, kept or made")
    }

    /// The same.
    #[must_use]
    pub fn id_bytes(&self) -> &[u8] {
        self.encoded.id()
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Path and query, when there is an access log to write them.
    #[must_use]
    pub fn target(&self) -> &str {
        self.logged.as_ref().map_or("", |logged| &logged.target)
    }

    /// The address of the client, or of the client that a trusted proxy names, when there is an
    /// access log to write it.
    #[must_use]
    pub fn client(&self) -> Option<IpAddr> {
        self.logged.as_ref().and_then(|logged| logged.client)
    }

    /// The connection by which it came.
    #[must_use]
    pub fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }

    /// The path without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.encoded.path()
    }

    /// True when its client would rather read HTML than JSON.
    #[must_use]
    pub fn prefers_html(&self) -> bool {
        Media::preferred(self.encoded.called(b"accept").into_iter()) == Some(Media::Html)
    }

    /// Writes `request`, of which it was made with `names`, as the envelope has it.
    ///
    /// # Errors
    /// A field that is too long for the wire.
    pub fn encode(&mut self, request: Request<'_>, names: &Names<'_>) -> Result<(), RequestError> {
        let mut encoded = std::mem::take(&mut self.encoded);
        let written = encoded.write(|head| self.write(request, names, head));
        self.encoded = encoded;
        written
    }

    /// The flags of its envelope.
    #[must_use]
    pub fn flags(&self) -> Flags {
        self.flags
    }

    fn write(&self, request: Request<'_>, names: &Names<'_>, head: &mut HeadWriter<'_>) {
        let host = || request.called(b"host").next().unwrap_or_default();
        let authority = request.authority().unwrap_or_else(host);
        head.field(":method", self.method.as_str());
        head.field(":path", request.target());
        if !authority.is_empty() {
            head.field(":authority", authority);
        }
        head.field(":scheme", SCHEME);
        for field in request.fields() {
            let goes_on = match field.name.first() {
                Some(b'c' | b'e' | b'f' | b'h' | b't' | b'x') => self.goes_on(field, names),
                _ => !field.ends_here,
            };
            if goes_on {
                head.field(field.name, field.value);
            }
        }
        self.forwarding.write(request, head, &self.connection.peer, authority, SCHEME);
        head.field(ID, names.id.as_bytes());
        head.field(TRACEPARENT, names.trace.as_bytes());
    }

    /// True when the field is written as it came.
    fn goes_on(&self, field: Field<'_>, names: &Names<'_>) -> bool {
        match field.name {
            // Host has become `:authority`; Expect has been answered here.
            b"host" | b"expect" | ID | TRACEPARENT => false,
            // It belongs to the traceparent that it came with.
            TRACESTATE => names.trace.is_kept() && !field.ends_here,
            name if forwarded::is_forwarding(name) => self.forwarding.goes_on(name),
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
        head.encoded(self.encoded.fields());
    }
}
