//! The combined options, fully checked before a socket is opened.
//!
//! Owns defaults that depend on each other, and the requests. Invariant: there is at least one
//! request, thread and connection, and every thread has a connection.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::mix::{Mix, Part, Population};
use super::options::Options;
use super::target::{Address, Target};

/// Approximate number of slices of latency over time.
const SLICES: u32 = 100;
/// Shortest slice: percentiles of a few samples mean nothing.
const SLICE_MIN: Duration = Duration::from_millis(100);
/// Length of slices in a run without a fixed end.
const SLICE_OPEN_ENDED: Duration = Duration::from_secs(1);
/// Most connections: about what one process may open on a usual system, and more than one port's
/// worth.
const CONNECTIONS_MAX: usize = 100_000;

/// A checked run.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(super) address: Address,
    pub(super) requests_from: Requests,
    pub(super) connections: usize,
    pub(super) threads: usize,
    /// Time from the first request, including the warm-up.
    pub(super) duration: Option<Duration>,
    pub(super) requests: Option<u64>,
    pub(super) rate: Option<f64>,
    pub(super) seed: u64,
    pub(super) keepalive: bool,
    pub(super) timeout: Duration,
    pub(super) warmup: Duration,
    pub(super) slice: Duration,
    pub(super) quiet: bool,
    /// When the first thread's clock started; unset before.
    pub(super) started: OnceLock<Instant>,
}

/// The requests to send.
#[derive(Debug)]
pub(super) enum Requests {
    /// The same bytes every time.
    Fixed(Target),
    /// Built when they are sent.
    Made(Mix),
}

impl Plan {
    pub(crate) fn new(options: &Options) -> Result<Self> {
        let (address, target) = Target::of(options)?;
        Self::with(options, address, Requests::Fixed(target))
    }

    /// A mix of `parts` on `population`, at the URL of `options`.
    pub(crate) fn made(options: &Options, parts: &[Part], population: Population) -> Result<Self> {
        let (address, host) = Address::of(&options.url)?;
        Self::with(options, address, Requests::Made(Mix::new(parts, population, &host)?))
    }

    /// The mix, when requests are built when they are sent.
    pub(super) const fn mix(&self) -> Option<&Mix> {
        match &self.requests_from {
            Requests::Fixed(_) => None,
            Requests::Made(mix) => Some(mix),
        }
    }

    fn with(options: &Options, address: Address, requests_from: Requests) -> Result<Self> {
        let Options { connections, threads, rate, requests, .. } = *options;
        ensure!(
            (1..=CONNECTIONS_MAX).contains(&connections),
            "--connections {connections}: at least 1 and at most {CONNECTIONS_MAX} are possible"
        );
        ensure!(
            (1..=connections).contains(&threads),
            "--threads {threads}: at least 1 and at most one per connection ({connections}) are possible"
        );
        if let Some(rate) = rate {
            ensure!(rate > 0.0 && rate <= 1e7, "--rate {rate}: above 0 and at most 10000000 is possible");
        }
        ensure!(requests != Some(0), "--requests 0: give at least 1");
        let duration = options.duration.or(requests.is_none().then_some(Duration::from_secs(10)));
        let slice = duration.map_or(SLICE_OPEN_ENDED, |duration| (duration / SLICES).max(SLICE_MIN));
        Ok(Self {
            address,
            requests_from,
            connections,
            threads,
            duration: duration.map(|duration| duration + options.warmup),
            requests,
            rate,
            seed: options.seed.unwrap_or_else(|| fastrand::u64(..)),
            keepalive: options.keepalive,
            timeout: options.timeout,
            warmup: options.warmup,
            slice,
            quiet: options.quiet,
            started: OnceLock::new(),
        })
    }

    /// The connections of thread `index`.
    pub(super) const fn connections_of(&self, index: usize) -> usize {
        self.connections / self.threads + if index < self.connections % self.threads { 1 } else { 0 }
    }

    /// The requests of thread `index`.
    pub(super) fn requests_of(&self, index: usize) -> Option<u64> {
        let (index, threads) = (index as u64, self.threads as u64);
        self.requests.map(|requests| requests / threads + u64::from(index < requests % threads))
    }
}
