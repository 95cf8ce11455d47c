//! The files of infra/deploy, used: by nginx, haproxy, systemd's own checks and every role's
//! binary.
//!
//! Owns: what must hold behind a proxy while a terminator stops, starts or dies. Only addresses and
//! directories of the files are replaced. Invariant: tests count requests and wait for events; none
//! measures a duration.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "all of this crate is tests; clippy knows only the functions marked so"
)]

#[path = "deploy/echo.rs"]
mod echo;
#[path = "deploy/examples.rs"]
mod examples;
#[path = "deploy/files.rs"]
mod files;
#[path = "deploy/handover.rs"]
mod handover;
#[path = "deploy/hosts.rs"]
mod hosts;
#[path = "e2e/http.rs"]
#[allow(dead_code, reason = "shared with e2e")]
mod http;
#[path = "deploy/load.rs"]
mod load;
#[path = "e2e/process.rs"]
#[allow(dead_code, reason = "shared with e2e")]
mod process;
#[path = "deploy/proxies.rs"]
mod proxies;
#[path = "deploy/restarts.rs"]
mod restarts;
#[path = "deploy/site.rs"]
mod site;
#[path = "e2e/tools.rs"]
#[allow(dead_code, reason = "shared with e2e")]
mod tools;
#[path = "e2e/until.rs"]
mod until;
#[path = "e2e/wire.rs"]
#[allow(dead_code, reason = "shared with e2e")]
mod wire;
