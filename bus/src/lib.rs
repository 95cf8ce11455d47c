//! The tokio driver of bus-proto: endpoints, pipes, workers, requester and replier.
//!
//! A process calls [`bind`] once, then [`worker::start`]; each worker thread owns one [`Bus`].
//! A `Bus` is a cheap handle (`Rc`) that never leaves its thread.

pub mod endpoint;
pub mod message;
pub mod worker;

mod api;

pub use api::{Bus, Call, Config, Keepalive, Parts, Route, Seed, Subscription, bind};
pub use bus_proto::{self as proto, Envelope, Flags, HeadWriter, Hello, Kind, Limits, Pattern};
pub use endpoint::{Endpoint, EndpointError};
pub use message::{Body, Event, Head, Incoming, Options, Reply, RequestError, Response, Serve, Serving};
