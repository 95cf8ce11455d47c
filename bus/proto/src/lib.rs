//! SP frames, the BUS socket, the envelope, correlation and balancing, without I/O.
//!
//! No tokio, no sockets, no clock, no global random numbers: state machines take `now` and a random
//! number generator, and the driver (crate `bus`) moves the bytes.

pub mod envelope;
pub mod hello;
pub mod limits;

pub use envelope::{
    Correlation, DecodeError, EncodeError, Envelope, Fields, Flags, HeadWriter, Header, Kind, Origin,
    RequestId,
};
pub use hello::{Hello, HelloError, Pattern};
pub use limits::Limits;
