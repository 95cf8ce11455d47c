//! How a role reports on itself: statsd by cadence, log lines on stderr.
//!
//! Owns: sending samples to a daemon ([`Statsd`]), when they are sent ([`Flush`]), and the log with
//! its level ([`trace`], [`set_level`]). Leaves to `metrics` which metrics there are. Invariant:
//! nothing here blocks.
//!
//! Percentiles are sent as gauges to look at; they must not be averaged over hosts or time. The
//! counters beside them, `.under_25ms` and `.count`, may be added up: their quotient is the share
//! of requests within the target.

mod flush;
mod names;
mod statsd;
mod target;
mod trace;

pub use flush::{Destination, Flush, Last};
pub use statsd::{PACKET_BYTES_MAX, Statsd, check_prefix, check_target};
pub use trace::{level, set_level, trace};
