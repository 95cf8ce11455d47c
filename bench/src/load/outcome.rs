//! The result of a run, for people and for programs.
//!
//! Owns the shape of the JSON and the printed table. Times are in microseconds, as their names say.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::plan::Plan;
pub use super::tally::Errors;
use super::tally::Tally;
use crate::figures::float;

/// Points per halving of the distance to 100 %, as in HDR plots.
const POINTS_PER_HALVING: u32 = 5;

/// A finished run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// The server's address.
    pub address: String,
    /// Connections of all threads.
    pub connections: usize,
    /// Load threads.
    pub threads: usize,
    /// Requested rate per second; `None` in the closed loop.
    pub rate: Option<f64>,
    /// Seed of the requests.
    pub seed: u64,
    /// Measured time, without the warm-up.
    pub seconds: f64,
    /// True when Ctrl-C ended the run.
    pub interrupted: bool,
    /// Complete responses.
    pub responses: u64,
    /// Complete responses per second.
    pub responses_per_second: f64,
    /// Bytes of heads and bodies.
    pub bytes_read: u64,
    /// Bytes of heads and bodies.
    pub bytes_written: u64,
    /// Number of responses, by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests without a response, by cause.
    pub errors: Errors,
    /// From due (open loop) or sent (closed loop) to the end of the response.
    pub latency: Latency,
    /// The whole distribution.
    pub percentiles: Vec<Point>,
    /// The distribution over time.
    pub timeline: Vec<Slice>,
    /// Results by kind of request, when there are several.
    #[serde(default)]
    pub kinds: Vec<Kind>,
}

/// The result of one kind of request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kind {
    /// The name in the mix.
    pub name: String,
    /// Complete responses.
    pub responses: u64,
    /// Requests without a response, and responses with a status other than 2xx.
    pub errors: u64,
    /// Like the latency of all requests.
    pub latency: Latency,
}

/// The usual figures.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Latency {
    pub mean_us: f64,
    pub stdev_us: f64,
    pub min_us: u64,
    pub p50_us: u64,
    pub p75_us: u64,
    pub p90_us: u64,
    pub p99_us: u64,
    pub p999_us: u64,
    pub p9999_us: u64,
    pub max_us: u64,
}

impl Latency {
    pub(super) fn of(latency: &Histogram<u64>) -> Self {
        Self {
            mean_us: latency.mean(),
            stdev_us: latency.stdev(),
            min_us: latency.min(),
            p50_us: latency.value_at_quantile(0.5),
            p75_us: latency.value_at_quantile(0.75),
            p90_us: latency.value_at_quantile(0.9),
            p99_us: latency.value_at_quantile(0.99),
            p999_us: latency.value_at_quantile(0.999),
            p9999_us: latency.value_at_quantile(0.9999),
            max_us: latency.max(),
        }
    }
}

/// One point of the distribution.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Point {
    /// 0..=100.
    pub percentile: f64,
    /// This percentage of the requests took at most this long.
    pub latency_us: u64,
}

/// Requests that were due in one slice of the run.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Slice {
    pub start_s: f64,
    pub requests: u64,
    pub p50_us: u64,
    pub p99_us: u64,
    pub max_us: u64,
}

impl Outcome {
    pub(super) fn new(plan: &Plan, tally: &Tally, interrupted: bool) -> Self {
        let seconds = tally.elapsed.as_secs_f64();
        let latency = &tally.latency;
        let percentiles = latency
            .iter_quantiles(POINTS_PER_HALVING)
            .map(|step| Point {
                percentile: step.quantile_iterated_to() * 100.0,
                latency_us: step.value_iterated_to().min(latency.max()),
            })
            .collect();
        let timeline = (0_u32..)
            .zip(&tally.slices)
            .map(|(index, slice)| Slice {
                start_s: (plan.slice * index).as_secs_f64(),
                requests: slice.len(),
                p50_us: slice.value_at_quantile(0.5),
                p99_us: slice.value_at_quantile(0.99),
                max_us: slice.max(),
            })
            .collect();
        let names = plan.mix().into_iter().flat_map(|mix| mix.kinds());
        let kinds = names.zip(&tally.kinds).map(|(name, kind)| Kind {
            name: name.to_owned(),
            responses: kind.responses,
            errors: kind.refused + kind.failures,
            latency: Latency::of(&kind.latency),
        });
        let statuses = (0..).zip(&tally.statuses).filter(|(_, count)| **count > 0);
        Self {
            address: plan.address.to_string(),
            connections: plan.connections,
            threads: plan.threads,
            rate: plan.rate,
            seed: plan.seed,
            seconds,
            interrupted,
            responses: tally.responses,
            responses_per_second: float(tally.responses) / seconds.max(1e-9),
            bytes_read: tally.bytes_read,
            bytes_written: tally.bytes_written,
            statuses: statuses.map(|(status, count)| (status, *count)).collect(),
            errors: tally.errors,
            latency: Latency::of(latency),
            percentiles,
            timeline,
            kinds: kinds.collect(),
        }
    }

    /// Writes the outcome as JSON.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let json = serde_json::to_string_pretty(self)?;
        std::fs::write(path, json).with_context(|| path.display().to_string())
    }

    /// Responses with status 2xx.
    #[must_use]
    pub fn successes(&self) -> u64 {
        self.statuses.range(200..300).map(|(_, count)| count).sum()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |us: u64| float(us) / 1000.0;
        let loop_kind = match self.rate {
            Some(rate) => {
                format!("open loop, {rate:.0} requests/s, seed {}", self.seed)
            }
            None => "closed loop".to_owned(),
        };
        let Self { address, connections, threads, seconds, latency, errors, .. } = self;
        if self.interrupted {
            writeln!(f, "Stopped early; measured until then:")?;
        }
        writeln!(f, "{address}, {connections} connections, {threads} threads, {loop_kind}")?;
        writeln!(
            f,
            "  {} responses in {seconds:.2} s: {:.0}/s, read {:.1} MB/s, wrote {:.1} MB/s",
            self.responses,
            self.responses_per_second,
            float(self.bytes_read) / seconds.max(1e-9) / 1e6,
            float(self.bytes_written) / seconds.max(1e-9) / 1e6,
        )?;
        writeln!(
            f,
            "  latency ms: p50 {:.2}, p75 {:.2}, p90 {:.2}, p99 {:.2}, p99.9 {:.2}, p99.99 {:.2}, max {:.2}; mean {:.2}",
            ms(latency.p50_us),
            ms(latency.p75_us),
            ms(latency.p90_us),
            ms(latency.p99_us),
            ms(latency.p999_us),
            ms(latency.p9999_us),
            ms(latency.max_us),
            latency.mean_us / 1000.0,
        )?;
        let statuses: Vec<String> =
            self.statuses.iter().map(|(status, count)| format!("{status}: {count}")).collect();
        writeln!(f, "  statuses {}", statuses.join(", "))?;
        write!(
            f,
            "  errors {}: connect {}, write {}, read {}, closed {}, malformed {}, timeout {}, unsent {}",
            errors.total(),
            errors.connect,
            errors.write,
            errors.read,
            errors.closed,
            errors.malformed,
            errors.timeout,
            errors.unsent,
        )
    }
}
