//! The types that callers exchange with the bus: requests, replies, events, and the errors of
//! requests.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use bus_proto::{Envelope, Flags, HeadWriter, PipeId, To};
use bytes::Bytes;
use smallvec::SmallVec;

/// The head of a request to send. It is encoded in place in the out-queue of each pipe that the
/// request is sent to.
pub trait Head {
    /// Writes every field, the pseudo-fields `:method` and `:path` first.
    fn encode(&self, head: &mut HeadWriter<'_>);
}

/// A body as the chunks it was read in. Chunks are never joined, and only small ones are copied.
/// There is inline space for one chunk, because most bodies have at most one and every request in
/// progress holds this type.
pub type Body = SmallVec<[Bytes; 1]>;

/// How a request is sent.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The time of the request, now or a moment ago. Passing it saves a look at the clock.
    pub asked: Instant,
    /// When the asker gives up.
    pub deadline: Instant,
    /// How long the request may wait for an instance when there is none, within the deadline.
    pub hold: Duration,
    /// `IDEMPOTENT` allows a retry on another instance; `SAMPLED` is passed on. A request with
    /// `SHADOW` is the first to be dropped under load, and is neither held nor sent again.
    pub flags: Flags,
    /// The instances that may get it.
    pub to: To,
}

/// Why a request got no reply. The terminator's `rescue` maps these errors to statuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// No instance of the service takes new requests now.
    #[error("no connected instance of `{service}` takes new requests")]
    NoInstance {
        /// The service that claims the route.
        service: String,
    },
    /// Every instance has as many requests as its hello allows, or a full out-queue.
    #[error("all {instances} instances of `{service}` are at their limit, or read too slowly")]
    Busy {
        /// The service that claims the route.
        service: String,
        /// Number of instances that were considered.
        instances: usize,
    },
    /// The worker's table of outstanding requests is full.
    #[error("{limit} requests are outstanding, which is the limit of one worker")]
    Pending {
        /// The limit in force.
        limit: usize,
    },
    /// The deadline passed.
    #[error("no reply from `{service}` before the deadline")]
    Deadline {
        /// The service that was asked.
        service: String,
    },
    /// The pipe closed after the request was written, and the request may not be sent again.
    #[error("the instance of `{service}` disconnected before it replied")]
    Lost {
        /// The service that was asked.
        service: String,
    },
    /// The message cannot be encoded.
    #[error(transparent)]
    Encode(#[from] bus_proto::EncodeError),
    /// Reply parts arrived faster than the client took them.
    #[error("{limit} bytes of reply parts wait for a slow client, which is the limit")]
    SlowClient {
        /// The limit in force.
        limit: usize,
    },
}

/// A received request, completely checked. Its fields and body are slices of a read buffer that it
/// shares with other messages, so code that keeps a part for long should copy it.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// Fields and body.
    pub envelope: Envelope,
    /// When it was read, to within the batch it was read with.
    pub received: Instant,
    /// When the asker gives up; `None` for no deadline.
    pub deadline: Option<Instant>,
    /// The pipe that it came by.
    pub pipe: PipeId,
}

impl Incoming {
    /// The field `:method`, or "" when it is missing or not UTF-8.
    #[must_use]
    pub fn method(&self) -> &str {
        self.text(":method")
    }

    /// The field `:path` with its query, or "".
    #[must_use]
    pub fn path(&self) -> &str {
        self.text(":path")
    }

    fn text(&self, name: &str) -> &str {
        self.envelope.field(name).and_then(|value| std::str::from_utf8(value).ok()).unwrap_or("")
    }
}

/// Capacity reserved for the fields of an answer with one allocation. The fields are on the heap
/// because builders move an answer some twenty times.
const FIELDS: usize = 6;

/// An answer to send: status, fields, body.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Lower-case names and their values.
    pub fields: Vec<(Cow<'static, str>, Bytes)>,
    /// The body. A small one is copied next to the head, a longer one is queued without a copy.
    pub body: Bytes,
}

impl Response {
    /// An empty answer with `status`.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// Adds a field. `name` is lower case.
    #[must_use]
    pub fn field(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Bytes>) -> Self {
        if self.fields.is_empty() {
            self.fields.reserve_exact(FIELDS);
        }
        self.fields.push((name.into(), value.into()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

/// The handler of incoming requests on a worker.
pub trait Serve: 'static {
    /// Called in the read loop, once per request that has not expired. The future of
    /// [`Serving::Later`] is polled once at that point, and later together with the other waiting
    /// handlers. It is dropped when the asker cancels.
    fn serve(&self, request: Incoming) -> Serving;
}

/// The answer to one request.
pub enum Serving {
    /// The answer is available.
    Now(Response),
    /// The answer is available when the future completes.
    Later(Pin<Box<dyn Future<Output = Response>>>),
}

/// A published message.
#[derive(Clone, Debug)]
pub struct Event {
    /// The field `:topic`, other fields, and the body.
    pub envelope: Envelope,
}

impl Event {
    /// The topic of the event.
    #[must_use]
    pub fn topic(&self) -> &str {
        let topic = self.envelope.field(":topic");
        topic.and_then(|topic| std::str::from_utf8(topic).ok()).unwrap_or_default()
    }
}
