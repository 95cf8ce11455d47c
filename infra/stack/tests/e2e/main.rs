//! End-to-end tests: the roles as their users run them, over real sockets, with real peers, load
//! and faults.
//!
//! Owns the harness (`process`, `terminator`, `instance`, `load`, `http`, `wire`, `tools`, `until`)
//! and the tests by subject. Uses no crate of ours; its knowledge of the wire comes from
//! bus/PROTOCOL.md. Invariant: the system chooses ports and directories are temporary, so tests run
//! in parallel; no process outlives its test.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "all of this crate is tests; clippy knows only the functions marked so"
)]

mod http;
mod instance;
mod load;
mod process;
mod terminator;
mod tools;
mod until;
mod wire;

mod admin;
mod cats;
#[cfg(not(feature = "fdb"))]
mod cluster;
mod direct;
mod discovery;
mod faults;
mod garbage;
mod guests;
mod live;
mod members;
mod services;
mod shares;
mod statsd;
mod upgrade;
mod whole;
