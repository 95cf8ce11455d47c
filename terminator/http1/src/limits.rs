//! Every bound of the protocol, each with its reason, and the time-outs of a connection's phases.

use std::time::Duration;

/// The longest head that a [`crate::Head`] can describe: its ranges are 16 bits.
pub(crate) const HEAD_LEN_MAX: usize = 65_535;

/// Bytes of a chunk's first line, size and extensions. Nobody sends extensions; hyper, too, allows
/// 16 KiB of them per body.
pub(crate) const CHUNK_LINE_LEN_MAX: usize = 1024;

/// Bytes of chunk extensions of one body: they are read and thrown away.
pub(crate) const EXTENSIONS_LEN_MAX: usize = 16 << 10;

/// Options of all `Connection` fields of a head. Each is compared with each field, so an unbounded
/// list would cost options times fields.
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
    /// The client, for a first request; nothing of it has come.
    Accepted,
    /// The client, for the rest of a head.
    Head,
    /// The client, for the rest of a body.
    Body,
    /// The caller, for a response.
    Service,
    /// The client, to take what was written of the response.
    Response,
    /// The caller, for the next part of a response; everything so far is written.
    Parts,
    /// The client, for a further request.
    Idle,
    /// The client, to see the last response; what it still sends is thrown away (RFC 9112 section
    /// 9.6).
    Linger,
}

/// How long a client may take in each phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the connection's start, or from the first byte of a further head, to the head's end.
    pub head: Duration,
    /// From the end of the head to the end of the body.
    pub body: Duration,
    /// Without taking a byte of the response.
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
