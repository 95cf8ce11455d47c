//! End to end: the roles as their users run them, over real sockets, with the peers, the load and the faults that
//! they meet.
//!
//! Owns: the harness (`process`, `terminator`, `instance`, `load`, `http`, `wire`, `tools`, `until`) and the tests
//! by subject. Does not use any crate of ours: what it knows of the wire it has from bus/PROTOCOL.md.
//! Invariant: ports are the system's choice and directories temporary, so tests run beside each other; no process
//! outlives its test.
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

mod cats;
#[cfg(not(feature = "fdb"))]
mod cluster;
mod faults;
mod garbage;
mod guests;
mod members;
mod services;
mod shares;
mod statsd;
mod whole;
