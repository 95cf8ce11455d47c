//! The tokio driver of bus-proto: endpoints, pipes, the calls of an asker and the handlers of a
//! service.
//!
//! A process calls [`bind()`] once, then [`Seed::start`] on each of its worker threads. A [`Bus`]
//! is a cheap handle (`Rc`) that never leaves its thread. The protocol is `bus-proto`'s
//! [`proto::Node`]; this crate has only sockets (`io`), the state of a worker (`state`) and its
//! tasks (`tasks`). Imports go one way: `bus` -> `tasks` -> `state` -> `io`, which a test of the
//! package `stack` checks.

pub mod bind;
pub mod message;

mod bus;
mod call;
mod info;
mod io;
mod shadow;
mod state;
mod tasks;

pub use self::bus::Bus;
pub use self::io::endpoint::{self, Endpoint, EndpointError};
pub use self::io::file::OwnsFile;
pub use self::io::listen::{Allow, AllowError, FileAccess, Listen};
pub use self::io::transport::Keepalive;
pub use bind::{BindError, Config, Inherited, Seed, bind, bind_with};
pub use bus_proto::{
    self as proto, Claims, Envelope, Flags, HeadWriter, Hello, Kind, Limits, Pattern, Route, To, VersionId,
};
pub use call::{Call, Instance, Parts, Reply};
pub use info::{PeerInfo, RouteInfo};
pub use message::{Body, Event, Head, Incoming, Options, RequestError, Response, Serve, Serving};
pub use shadow::Shadow;
pub use state::dials::Unconnected;
pub use state::finishing::Finish;
pub use state::hold::{Held, Wait};
pub use state::subscription::Subscription;
