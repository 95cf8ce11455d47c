//! etcd as the source of a plan, through its v3 JSON gateway.
//!
//! Owns the parts' order: `client` asks an endpoint, `message` is the wire, `store` reads and
//! writes keys, `follow` lists and watches, `session` keeps a lease and what is held under it.
//! Invariant: losing etcd changes nothing that is in force; every wait for it has a bound.
//!
//! The gateway is etcd's own (`/v3/...`, etcd 3.4 and newer; etcd.io/docs/v3.4/dev-guide/
//! api_grpc_gateway): a request is one JSON object, bytes are base64, 64-bit integers are strings,
//! and a watch is a response that never ends, one JSON object a line.

mod client;
mod follow;
mod message;
mod session;
mod store;
mod tls;

pub(super) use follow::follow;
pub(super) use session::{end, hold};
pub(super) use store::Store;
