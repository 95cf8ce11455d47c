//! The HTTP edge: every request becomes a message on the bus, every reply an HTTP response.
//!
//! The path of one request: [`listen`] accepts a connection, [`serve`] runs its task, which reads
//! and writes what crate `http1` parses and frames. [`forward`] takes the request through permit
//! ([`worker`]), route ([`route`]), HTTP to envelope ([`request`]), the bus, and envelope to HTTP
//! ([`response`]). [`rescue`] is the only module that chooses an error status. Data moves one way;
//! no stage calls an earlier one.
//!
//! Modules import only modules of an earlier group of this list, or of their own group, never in a
//! circle (`infra/stack/tests/cycles.rs` checks it):
//!
//! 1. Plain values: [`limits`] (every bound), [`config`] (the checked settings), [`trace`] (ids),
//!    [`rescue`], [`access_log`], [`stats`] and [`route`].
//! 2. State: [`live`] (what the plan means for requests), [`worker`] (what one thread owns) and
//!    [`connection`] (what one connection shares with its requests). They spawn nothing.
//! 3. The path of a request: [`request`], [`response`], [`forward`].
//! 4. What runs: [`serve`] (a connection's task), [`listen`], `tasks` (starts a worker).
//! 5. The process: [`views`] (what operators see of a worker) and [`control`] (the main thread).

pub mod access_log;
pub mod config;
pub mod connection;
pub mod control;
pub mod forward;
pub mod limits;
pub mod listen;
pub mod live;
pub mod request;
pub mod rescue;
pub mod response;
pub mod route;
pub mod serve;
pub mod stats;
mod tasks;
pub mod trace;
pub mod views;
pub mod worker;
