//! Every bound of the protocol, and the time-outs of a connection's phases.
//!
//! Owns the constants and the types. Leaves enforcing the bounds to the modules that parse, and
//! time-outs to the caller.

use std::time::Duration;

/// The longest head that a [`crate::Head`] can describe: its ranges are 16 bits.
pub(crate) const HEAD_LEN_MAX: usize = 65_535;

/// Bytes of the first line of a chunk, with size and extensions: clients hardly use extensions.
pub(crate) const CHUNK_LINE_LEN_MAX: usize = 1024;

/// Bytes of chunk extensions of one body, as in hyper. They are read and dropped.
pub(crate) const EXTENSIONS_LEN_MAX: usize = 16 << 10;

/// Options of all `Connection` fields of a head. Each is compared with each field, so the cost is
/// options times fields.
pub(crate) const OPTIONS_MAX: usize = 32;

/// The limits of requests that a caller chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a head, request line included, and of the trailers of a body; at most 65 535.
    pub head_len_max: usize,
    /// Fields of a head, and trailers of a body.
    pub fields_max: usize,
    /// Bytes of a body.
    pub body_len_max: u64,
}

impl Default for Limits {
    /// 32 KiB, 100 fields (as hyper and Apache httpd), 1 MiB.
    fn default() -> Self {
        Self { head_len_max: 32 << 10, fields_max: 100, body_len_max: 1 << 20 }
    }
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The client, for its first request; no byte has been read.
    Accepted,
    /// The client, for the rest of a head.
    Head,
    /// The client, for the rest of a body.
    Body,
    /// The caller, for a response.
    Service,
    /// The client, to read more of the response.
    Response,
    /// The caller, for the next part of a response; everything so far is written.
    Parts,
    /// The client, for the next request.
    Idle,
    /// The client, to close after the last response; what it still sends is dropped (RFC 9112
    /// section 9.6).
    Linger,
}

/// How long a client may take in each phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the start of the connection, or from the first byte of a later head, to the end of the
    /// head.
    pub head: Duration,
    /// From the end of the head to the end of the body.
    pub body: Duration,
    /// While the client reads no byte of the response.
    pub write: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// After the last response, while the client still sends.
    pub linger: Duration,
}

impl Timeouts {
    /// How long the client may leave a connection in `phase`; `None` where the connection waits for
    /// the caller.
    #[must_use]
    pub const fn of(&self, phase: Phase) -> Option<Duration> {
        match phase {
            Phase::Accepted | Phase::Head => Some(self.head),
            Phase::Body => Some(self.body),
            Phase::Response => Some(self.write),
            Phase::Idle => Some(self.idle),
            Phase::Linger => Some(self.linger),
            Phase::Service | Phase::Parts => None,
        }
    }
}
