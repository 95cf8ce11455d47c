//! statsd by cadence, tracing set-up, latency histograms. STUB: the signatures stay.

use std::time::Duration;

/// Sets tracing up on stderr. `level` is an `EnvFilter` directive such as `info` or `bus=debug`.
///
/// # Errors
/// Says what is wrong with `level`.
pub fn trace(level: &str) -> Result<(), String> {
    let _ = level;
    Ok(())
}

/// One worker's latency histogram of one thing: not shared, recorded in some nanoseconds.
#[derive(Clone, Debug)]
pub struct Latency {
    _p: (),
}

impl Latency {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self { _p: () }
    }
    /// Counts one sample; values over the range count as its end.
    pub fn record(&mut self, elapsed: Duration) {
        let _ = elapsed;
    }
    /// Adds another worker's samples.
    pub fn merge(&mut self, other: &Self) {
        let _ = other;
    }
    /// What was recorded since the last `take`, leaving the totals.
    #[must_use]
    pub fn take(&mut self) -> Self {
        self.clone()
    }
    /// Samples.
    #[must_use]
    pub fn count(&self) -> u64 {
        0
    }
    /// Samples under 25 ms: what a dashboard may add up over hosts and time.
    #[must_use]
    pub fn under_target(&self) -> u64 {
        0
    }
    /// The value at `quantile` in 0..=1.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Duration {
        let _ = quantile;
        Duration::ZERO
    }
    /// The largest value.
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::ZERO
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

/// What a role reports at one flush, summed over its workers.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Totals since start; the sender sends the differences.
    pub counters: Vec<(&'static str, u64)>,
    /// Values now.
    pub gauges: Vec<(&'static str, f64)>,
    /// Histograms since the last flush, with an optional (tag, value), e.g. ("route", "GET /members/{id}").
    pub latencies: Vec<(&'static str, Option<(&'static str, String)>, Latency)>,
}

/// A statsd daemon's address, the prefix, and how tags are written.
pub struct Statsd {
    _p: (),
}

impl Statsd {
    /// `target` is HOST:PORT; `prefix` e.g. `terminator`; `dogstatsd` writes tags as `|#k:v`, else they become part of the name.
    ///
    /// # Errors
    /// Names the address that cannot be resolved.
    pub fn new(target: &str, prefix: &str, dogstatsd: bool) -> Result<Self, String> {
        let _ = (target, prefix, dogstatsd);
        Ok(Self { _p: () })
    }
    /// Sends one flush: never blocks, packets under 1432 bytes; what the socket does not take is dropped and counted.
    pub fn flush(&mut self, snapshot: &Snapshot) {
        let _ = snapshot;
    }
}
