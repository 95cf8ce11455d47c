//! HTTP -> envelope: the head of a request as the bus sends it.
//!
//! Owns: which headers go on, what is added (`x-forwarded-*`, `x-request-id`, `traceparent`). Does not: allocate per
//! field, nor hold the memory that the head was read into; fields are written once (`encoded`). Invariant: what is sent is the
//! same for every instance a request is sent to.

mod body;
mod encoded;
mod fields;
mod hop;
mod host;
mod trace;

use std::rc::Rc;

use bus::proto::retry::is_idempotent;
use bus::{Flags, Head, HeadWriter, RequestError};
use http::{HeaderValue, Method};

pub use body::{collect, discard};
use encoded::Encoded;
pub use encoded::Heads;
pub use fields::{Fields, StartLine};
pub use hop::{is_hop_by_hop, is_named_by};
pub use host::bytes_of;
use trace::{RequestId, Traceparent};

use crate::config::Forwarded;
use crate::connection::{Connection, Replay};
use crate::rescue::Refusal;

const FORWARDED_FOR: &[u8] = b"x-forwarded-for";
const FORWARDED_PROTO: &[u8] = b"x-forwarded-proto";
const FORWARDED_HOST: &[u8] = b"x-forwarded-host";
/// The header that carries a request's id both ways.
pub const REQUEST_ID: &str = "x-request-id";
const ID: &[u8] = REQUEST_ID.as_bytes();
const TRACEPARENT: &[u8] = b"traceparent";
const TRACESTATE: &[u8] = b"tracestate";
const SCHEME: &str = "http";

/// A request's head, read once, as others need to know it; it holds nothing that was read.
#[derive(Debug)]
pub struct RequestHead {
    method: Method,
    is_1_0: bool,
    /// For the access log alone.
    target: Option<Box<str>>,
    encoded: Encoded,
    connection: Rc<Connection>,
    flags: Flags,
    /// What the one look at the headers found.
    found: Found,
}

/// How a request is told from others: needed until its head is encoded, which keeps the id.
#[derive(Debug)]
pub struct Names<'a> {
    id: RequestId<'a>,
    trace: Traceparent,
}

#[derive(Clone, Copy, Debug, Default)]
struct Found {
    connection: hop::Options,
    forwarded_for: bool,
    forwarded_proto: bool,
    forwarded_host: bool,
    host: Host,
    coding: Coding,
}

/// How the body was sent: hyper takes off `chunked`, and would hand on what else there is as if it were the body.
#[derive(Clone, Copy, Debug, Default)]
enum Coding {
    #[default]
    None,
    Chunked,
    Other,
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
    pub fn new<'a>(
        line: &StartLine<'_>,
        fields: &'a impl Fields,
        connection: Rc<Connection>,
    ) -> (Self, Names<'a>) {
        let mut found = Found::default();
        let (mut id, mut trace) = (None, None);
        let mut traces = 0;
        for (name, value) in fields.each() {
            match name {
                b"connection" => found.connection.add(value),
                b"host" => {
                    let valid = matches!(found.host, Host::Missing) && host::is_valid(value);
                    found.host = if valid { Host::Valid } else { Host::Wrong };
                }
                b"transfer-encoding" => {
                    let chunked = value.trim_ascii().eq_ignore_ascii_case(b"chunked");
                    let alone = chunked && matches!(found.coding, Coding::None);
                    found.coding = if alone { Coding::Chunked } else { Coding::Other };
                }
                ID => id = RequestId::kept(value),
                // More than one: whom to believe? (W3C Trace Context section 3.2.)
                TRACEPARENT => (trace, traces) = (Traceparent::kept(value), traces + 1),
                FORWARDED_FOR => found.forwarded_for = true,
                FORWARDED_PROTO => found.forwarded_proto = true,
                FORWARDED_HOST => found.forwarded_host = true,
                _ => {}
            }
        }
        if line.authority.is_some_and(|authority| !host::is_authority(authority.as_bytes())) {
            found.host = Host::Wrong;
        }
        let worker = &connection.worker;
        if worker.config.forwarded == Forwarded::Replace {
            (found.forwarded_for, found.forwarded_proto, found.forwarded_host) = (false, false, false);
        }
        let random = [fastrand::u64(..), fastrand::u64(..)];
        let id = id.unwrap_or_else(|| RequestId::made(random));
        let trace =
            trace.filter(|_| traces == 1).unwrap_or_else(|| Traceparent::made(random, fastrand::u64(..)));
        let mut encoded = worker.heads.take();
        encoded.begin(id.as_bytes(), line.path);
        let target = worker.access_log.as_ref().map(|_| line.target.into());
        let idempotent = if is_idempotent(line.method.as_str()) { Flags::IDEMPOTENT } else { Flags::NONE };
        let sampled = if trace.sampled() { Flags::SAMPLED } else { Flags::NONE };
        let head = Self {
            method: line.method.clone(),
            is_1_0: line.is_1_0,
            target,
            encoded,
            connection,
            flags: idempotent.union(sampled),
            found,
        };
        (head, Names { id, trace })
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

    /// The id as a response's header: every client can name its request to those who read the logs.
    #[must_use]
    pub fn id_value(&self) -> HeaderValue {
        HeaderValue::from_bytes(self.id_bytes()).expect("harmless ASCII, kept or made")
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Path and query, when there is an access log to write them.
    #[must_use]
    pub fn target(&self) -> &str {
        self.target.as_deref().unwrap_or_default()
    }

    /// Whose request it is.
    #[must_use]
    pub fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }

    /// The path without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.encoded.path()
    }

    /// Writes it, the one that was made of `line` and `fields` with `names`, as the envelope has it.
    ///
    /// # Errors
    /// A field that is too long for the wire.
    pub fn encode(
        &mut self,
        line: &StartLine<'_>,
        fields: &impl Fields,
        names: &Names<'_>,
    ) -> Result<(), RequestError> {
        let mut encoded = std::mem::take(&mut self.encoded);
        let written = encoded.write(|head| self.write(line, fields, names, head));
        self.encoded = encoded;
        written
    }

    /// Checks that it names its host as its version has to (RFC 9112 section 3.2).
    ///
    /// # Errors
    /// [`Refusal::Host`].
    #[inline]
    pub fn check_host(&self) -> Result<(), Refusal> {
        match self.found.host {
            Host::Valid => Ok(()),
            Host::Missing if self.is_1_0 => Ok(()),
            Host::Missing | Host::Wrong => Err(Refusal::Host),
        }
    }

    /// Checks that its body is sent as this side understands it (RFC 9112 section 6.1).
    ///
    /// # Errors
    /// [`Refusal::Coding`].
    #[inline]
    pub fn check_coding(&self) -> Result<(), Refusal> {
        if let Coding::Other = self.found.coding { Err(Refusal::Coding) } else { Ok(()) }
    }

    /// What of it decides how its response is written.
    #[inline]
    #[must_use]
    pub fn replay(&self) -> Replay {
        let persists = self.found.connection.persists(self.is_1_0);
        Replay { is_head: self.method == Method::HEAD, is_1_0: self.is_1_0, persists }
    }

    /// The flags of its envelope.
    #[must_use]
    pub fn flags(&self) -> Flags {
        self.flags
    }

    fn write(
        &self,
        line: &StartLine<'_>,
        fields: &impl Fields,
        names: &Names<'_>,
        head: &mut HeadWriter<'_>,
    ) {
        let host = || fields.called("host").next().unwrap_or_default();
        let authority = line.authority.map_or_else(host, str::as_bytes);
        head.field(":method", line.method.as_str());
        head.field(":path", line.target);
        if !authority.is_empty() {
            head.field(":authority", authority);
        }
        head.field(":scheme", SCHEME);
        for (name, value) in fields.each() {
            let ends_here = || {
                // Not what a proxy in front says of its client, at that client's wish.
                self.found.connection.named
                    && !matches!(name, FORWARDED_PROTO | FORWARDED_HOST)
                    && is_named_by(fields.called("connection"), name)
            };
            if self.goes_on(name, names) && !ends_here() {
                head.field(name, value);
            }
        }
        self.write_forwarded(fields, head, authority);
        head.field(ID, names.id.as_bytes());
        head.field(TRACEPARENT, names.trace.as_bytes());
    }

    /// Whether the header is written as it came.
    #[inline]
    fn goes_on(&self, name: &[u8], names: &Names<'_>) -> bool {
        match name {
            // Host has become `:authority`; Expect has been answered here.
            b"host" | b"expect" => false,
            FORWARDED_FOR | ID | TRACEPARENT => false,
            FORWARDED_PROTO => self.found.forwarded_proto,
            FORWARDED_HOST => self.found.forwarded_host,
            // It belongs to the traceparent that it came with.
            TRACESTATE => names.trace.is_kept(),
            _ => !is_hop_by_hop(name),
        }
    }

    fn write_forwarded(&self, fields: &impl Fields, head: &mut HeadWriter<'_>, authority: &[u8]) {
        let client = self.connection.peer.text.as_bytes();
        if self.found.forwarded_for {
            write_forwarded_for(fields, head, client);
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
}

impl Drop for RequestHead {
    fn drop(&mut self) {
        self.connection.worker.heads.give_back(std::mem::take(&mut self.encoded));
    }
}

impl Head for &RequestHead {
    fn encode(&self, head: &mut HeadWriter<'_>) {
        head.encoded(self.encoded.fields());
    }
}

/// The addresses that came, and the client's behind them, as one field.
#[cold]
fn write_forwarded_for(fields: &impl Fields, head: &mut HeadWriter<'_>, client: &[u8]) {
    let came = fields.called("x-forwarded-for");
    let mut pieces: Vec<&[u8]> = Vec::new();
    for piece in came.chain(std::iter::once(client)).filter(|piece| !piece.is_empty()) {
        if !pieces.is_empty() {
            pieces.push(b", ");
        }
        pieces.push(piece);
    }
    head.field_pieces("x-forwarded-for", &pieces);
}
