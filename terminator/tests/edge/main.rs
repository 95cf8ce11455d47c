//! The real binary, real sockets: a client on one side, a service that speaks PROTOCOL.md's bytes on the other.
//!
//! Every step waits for an event of the one before (bytes, an end of stream, a line of the log), so that nothing sleeps;
//! what never comes fails after [`PATIENCE`].

#![allow(clippy::unwrap_used, reason = "clippy exempts only functions marked as tests, not what they call")]

use std::time::Duration;

mod bounds;
mod client;
mod connection;
mod drain;
mod handover;
mod http;
mod life;
#[allow(dead_code, reason = "of a case, its bytes alone are used here")]
#[path = "../../http1/tests/proof/outcome.rs"]
mod outcome;
mod proxies;
mod service;
mod smuggling;
mod statuses;
mod systemd;
#[allow(dead_code, reason = "of a case, its bytes alone are used here")]
#[path = "../../http1/tests/proof/table.rs"]
mod table;
mod terminator;
mod waiting;

/// How long anything is waited for. Far above what it takes, so that only what is broken meets it.
const PATIENCE: Duration = Duration::from_secs(30);
