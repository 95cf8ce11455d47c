//! What a role counts: one vocabulary for all roles, and the forms in which it is shown.
//!
//! Owns: the table of every metric ([`METRICS`]), the cells in which a worker counts ([`Counter`],
//! [`Statuses`], [`Latency`]), the copy of them that leaves the worker's thread ([`Picture`]), the
//! sum over workers ([`Sample`]), and the texts of `/stats` ([`to_json`]) and `/metrics`
//! ([`to_prometheus`]). Leaves sending to `telemetry`, and asking the workers to `observer`.
//! Invariant: every view shows exactly the metrics of the table that the role's groups have, and
//! the role's own counters; a metric that no worker mentions is 0.

mod counter;
mod json;
mod latency;
mod picture;
mod prometheus;
mod sample;
mod table;

pub use counter::{Counter, Statuses};
pub use json::{RESERVED, to_json};
pub use latency::{Latencies, Latency, TARGET};
pub use picture::{Peer, Picture, RoutePicture, TaskPicture, add_bus};
pub use prometheus::{prometheus_name, to_prometheus};
pub use sample::{Sample, Value, by_worker, samples};
pub use table::{Group, Kind, METRICS, Metric, table};
