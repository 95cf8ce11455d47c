//! What callers hand to the bus and get from it: requests, replies, events, and why a request
//! failed.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use bus_proto::{Envelope, Flags, HeadWriter, PipeId};
use bytes::Bytes;
use smallvec::SmallVec;

/// The head of a request to send. Encoded in place in a pipe's out-queue, once for every pipe it is
/// sent to.
pub trait Head {
    /// Writes every field, the pseudo-fields `:method` and `:path` first.
    fn encode(&self, head: &mut HeadWriter<'_>);
}

/// A body as the chunks it was read in; never joined, never copied but for small ones. Room for
/// one: most have none or one, and all requests under way hold it.
pub type Body = SmallVec<[Bytes; 1]>;

/// How a request is sent.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// When it is asked, which is now or a moment ago: one look at the clock serves the whole
    /// request.
    pub asked: Instant,
    /// When the asker gives up.
    pub deadline: Instant,
    /// How long it may wait for an instance when there is none for the moment, within the deadline.
    pub hold: Duration,
    /// `IDEMPOTENT` allows a retry on another instance; `SAMPLED` and `SHADOW` are passed on.
    pub flags: Flags,
}

/// Why there is no reply. The terminator's `rescue` maps these to statuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The service is known, but no instance takes new requests now.
    #[error("no instance of `{service}` is connected or takes new requests")]
    NoInstance {
        /// The service that claims the route.
        service: String,
    },
    /// Every instance has as many requests as its hello allows, or a full out-queue.
    #[error("all {instances} instances of `{service}` are at their limit, or read too slowly")]
    Busy {
        /// The service that claims the route.
        service: String,
        /// Instances looked at.
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
    /// The pipe closed after the request was written, and it may not be sent again.
    #[error("the instance of `{service}` went away with the request in hand")]
    Lost {
        /// The service that was asked.
        service: String,
    },
    /// The message cannot be put on the wire.
    #[error(transparent)]
    Encode(#[from] bus_proto::EncodeError),
    /// Reply parts came faster than the client took them.
    #[error("{limit} bytes of reply parts wait for a slow client, which is the limit")]
    SlowClient {
        /// The limit in force.
        limit: usize,
    },
}

/// A request that came in, checked whole; everything is a slice of the buffer that the bus read,
/// with other messages. Who keeps one for long copies what it needs.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// Fields and body.
    pub envelope: Envelope,
    /// When it was read here, to within the batch that it came in.
    pub received: Instant,
    /// When the asker gives up, counted from then; `None` = no deadline.
    pub deadline: Option<Instant>,
    /// The pipe that it came by.
    pub pipe: PipeId,
}

impl Incoming {
    /// `:method`, or "" when the field is missing or not UTF-8.
    #[must_use]
    pub fn method(&self) -> &str {
        self.text(":method")
    }

    /// `:path` with its query, or "".
    #[must_use]
    pub fn path(&self) -> &str {
        self.text(":path")
    }

    fn text(&self, name: &str) -> &str {
        self.envelope.field(name).and_then(|value| std::str::from_utf8(value).ok()).unwrap_or("")
    }
}

/// Fields of an answer that cost one allocation. On the heap, since builders move an answer some
/// twenty times.
const FIELDS: usize = 6;

/// An answer to send: status, fields, body.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Lower-case names and their values.
    pub fields: Vec<(Cow<'static, str>, Bytes)>,
    /// The body; small ones are copied next to the head, others queued as they are.
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

/// What serves incoming requests on a worker.
pub trait Serve: 'static {
    /// Called in the read loop, once per request that has not expired. The future that
    /// [`Serving::Later`] brings is polled once where the request was read, and later beside all
    /// others that wait; it is dropped when the asker cancels.
    fn serve(&self, request: Incoming) -> Serving;
}

/// The answer to one request.
pub enum Serving {
    /// Known at once.
    Now(Response),
    /// Known when the future is done.
    Later(Pin<Box<dyn Future<Output = Response>>>),
}

/// A published message.
#[derive(Clone, Debug)]
pub struct Event {
    /// `:topic`, free fields, and body.
    pub envelope: Envelope,
}

impl Event {
    /// Its topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        let topic = self.envelope.field(":topic");
        topic.and_then(|topic| std::str::from_utf8(topic).ok()).unwrap_or_default()
    }
}
