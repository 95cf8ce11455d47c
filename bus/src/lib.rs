//! The tokio driver of bus-proto: endpoints, pipes, workers, requester and replier.
//!
//! A process calls [`bind()`] once, then [`worker::start`]; each worker thread owns one [`Bus`].
//! A `Bus` is a cheap handle (`Rc`) that never leaves its thread. The protocol is `bus-proto`'s [`proto::Node`];
//! here are only sockets, tasks and clocks.

pub mod bind;
pub mod endpoint;
pub mod message;
pub mod worker;

mod bus;
mod busy_poll;
mod call;
mod crossing;
mod dialer;
mod dials;
mod info;
mod inproc;
mod listen;
mod listener;
mod pipe;
mod places;
mod scheduling;
mod serving;
mod subscription;
mod timer;
mod transport;
mod waiting;

pub use self::bus::Bus;
pub use bind::{BindError, Config, Keepalive, Seed, bind};
pub use bus_proto::{
    self as proto, Claims, Envelope, Flags, HeadWriter, Hello, Kind, Limits, Pattern, Route,
};
pub use call::{Call, Parts};
pub use dials::Unconnected;
pub use endpoint::{Endpoint, EndpointError};
pub use info::{PeerInfo, RouteInfo};
pub use listen::{Allow, AllowError, FileAccess, Listen};
pub use message::{Body, Event, Head, Incoming, Options, Reply, RequestError, Response, Serve, Serving};
pub use scheduling::Scheduling;
pub use subscription::Subscription;
