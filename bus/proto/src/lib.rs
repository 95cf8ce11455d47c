//! SP frames, the BUS socket, the envelope, correlation and balancing, without I/O.
//!
//! No tokio, no sockets, no clock, no global random numbers: state machines take `now` and a random
//! number generator as arguments, and the driver (crate `bus`) moves the bytes. [`Node`] is the
//! complete state of one worker.

pub mod backoff;
pub mod balancer;
pub mod bucket;
pub mod claims;
pub mod counters;
pub mod directory;
pub mod envelope;
pub mod hello;
pub mod limits;
pub mod node;
pub mod outqueue;
pub mod pending;
pub mod recent;
pub mod retry;
pub mod socket;
pub mod sp;
pub mod version;

pub use backoff::Backoff;
pub use claims::Claims;
pub use counters::Counters;
pub use directory::Route;
pub use envelope::{
    Correlation, DecodeError, EncodeError, Envelope, Fields, Flags, HeadWriter, Header, Kind, Origin,
    RequestId,
};
pub use hello::{Hello, HelloError, Pattern};
pub use limits::Limits;
pub use node::{Input, Node, Refused, To};
pub use outqueue::PushError;
pub use socket::PipeId;
pub use sp::{Framing, SpError};
pub use version::VersionId;
