//! The HTTP edge: every request becomes a message on the bus, every reply an HTTP response.
//!
//! The path of one request: [`listen`] accepts, [`connection`] reads and writes what the crate
//! `http1` parses and frames, [`forward`] takes the request through permit ([`limit`]), route
//! ([`route`]), HTTP -> envelope ([`request`]), the bus, and envelope -> HTTP ([`response`]).
//! Everything that goes wrong on it goes through [`rescue`], the only place that chooses an error
//! status. Data moves one way; no stage calls back up.
//!
//! Around it: [`config`] (what was typed and what it means), [`limits`] (every bound), [`control`]
//! (the main thread: signals, statsd, drain), [`stats`] and [`access_log`] (what happened), [`views`]
//! (what operators see of a worker).

pub mod access_log;
pub mod config;
pub mod connection;
pub mod control;
pub mod forward;
pub mod limit;
pub mod limits;
pub mod listen;
pub mod request;
pub mod rescue;
pub mod response;
pub mod route;
pub mod stats;
pub mod views;
pub mod worker;
