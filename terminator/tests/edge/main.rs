//! End-to-end tests of the real binary over real sockets: a client on one side, a service that
//! speaks the bytes of bus/PROTOCOL.md on the other.
//!
//! Every step waits for an event (bytes, an end of stream, a line of the log, a counter), so no
//! test sleeps. A wait fails after [`PATIENCE`].

#![allow(clippy::unwrap_used, reason = "clippy exempts only functions marked as tests, not what they call")]

use std::time::Duration;

mod bounds;
mod client;
mod connection;
mod drain;
mod ghosts;
mod handover;
mod http;
mod life;
mod live;
mod ofrep;
#[allow(dead_code, reason = "only the bytes of a case are used here")]
#[path = "../../http1/tests/proof/outcome.rs"]
mod outcome;
mod page;
mod proxies;
mod service;
mod smuggling;
mod statuses;
mod systemd;
#[allow(dead_code, reason = "only the bytes of a case are used here")]
#[path = "../../http1/tests/proof/table.rs"]
mod table;
mod terminator;
mod waiting;

/// Longest wait for any event, far above the time that a working terminator needs.
const PATIENCE: Duration = Duration::from_secs(30);
