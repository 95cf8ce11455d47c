//! Two processes of every service on one FoundationDB cluster, behind a real terminator: what one
//! writes the other reads, and a server that stops or dies costs no acknowledged write.
//!
//! Owns a cluster of its own (`cluster`), since its server is stopped and killed, the processes on
//! it (`site`), and the load (`load`). Built with the feature `fdb` only, because the services must
//! have it too. `FDB_SERVER` names the server's binary, and fdbcli is beside it; without it every
//! test is skipped with the reason. Invariant: no process outlives its test, and nothing is left of
//! its data.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "all of this crate is tests; clippy knows only the functions marked so"
)]

#[path = "fdb/appends.rs"]
mod appends;
#[path = "fdb/cluster.rs"]
mod cluster;
#[path = "fdb/faults.rs"]
mod faults;
#[path = "e2e/http.rs"]
mod http;
#[path = "fdb/load.rs"]
mod load;
#[path = "fdb/pairs.rs"]
mod pairs;
#[path = "e2e/process.rs"]
#[allow(dead_code, reason = "shared with e2e")]
mod process;
#[path = "fdb/site.rs"]
mod site;
#[path = "e2e/terminator.rs"]
#[allow(dead_code, reason = "shared with e2e")]
mod terminator;
#[path = "e2e/tools.rs"]
#[allow(dead_code, reason = "shared with e2e")]
mod tools;
#[path = "e2e/until.rs"]
mod until;
#[path = "fdb/whole.rs"]
mod whole;
