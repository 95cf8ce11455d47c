//! What a role says about itself: statsd by cadence, latency histograms, tracing on stderr.
//!
//! Owns: how figures are kept ([`Latency`]), summed up at a flush ([`Snapshot`]) and sent ([`Statsd`]), and where log lines
//! go ([`trace`]). Does not own: which figures there are, nor the flush timer; a role calls [`Statsd::flush`] on its
//! own. Invariant: nothing here blocks, and a sample costs no formatting and no allocation until a flush sends it.
//!
//! Percentiles are sent as gauges for the eye; they must not be averaged over hosts or time. What a dashboard may add up
//! are the counters beside them, `.under_25ms` and `.count`: their quotient is the share within the target.

mod latency;
mod names;
mod statsd;
mod trace;

pub use latency::{Latency, TARGET};
pub use statsd::{PACKET_BYTES_MAX, Snapshot, Statsd, TaggedLatency, check_target};
pub use trace::trace;
