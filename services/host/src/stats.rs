//! What a worker counts, and how it is summed over the workers for statsd.
//!
//! Owns: the counters. Does not own: sending (crate `role`).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::Duration;

use role::telemetry::{Latency, Snapshot};

/// One worker's counters since its start.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) requests: Counter,
    /// Answers by the status's first digit; index 0 stays 0.
    statuses: [Counter; 6],
    /// Expired while they waited for a place.
    pub(crate) expired: Counter,
    /// Refused because limit and queue were full.
    pub(crate) refused: Counter,
    /// Dropped unfinished: the asker cancelled, or the worker ended.
    pub(crate) cancelled: Counter,
    pub(crate) panics: Counter,
    /// By the index of the route.
    latencies: RefCell<Vec<Latency>>,
}

/// A number that only goes up.
#[derive(Debug, Default)]
pub(crate) struct Counter(Cell<u64>);

impl Counter {
    pub(crate) fn add_one(&self) {
        self.0.set(self.0.get() + 1);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.get()
    }
}

impl Stats {
    pub(crate) fn new(routes: usize) -> Self {
        Self { latencies: RefCell::new(vec![Latency::new(); routes]), ..Self::default() }
    }

    pub(crate) fn answered(&self, status: u16) {
        if let Some(class) = self.statuses.get(usize::from(status / 100)) {
            class.add_one();
        }
    }

    pub(crate) fn took(&self, route: usize, elapsed: Duration) {
        self.latencies.borrow_mut()[route].record(elapsed);
    }

    pub(crate) fn counters(&self) -> Vec<(&'static str, u64)> {
        let status = |class: usize| self.statuses[class].value();
        vec![
            ("requests", self.requests.value()),
            ("status.2xx", status(2)),
            ("status.3xx", status(3)),
            ("status.4xx", status(4)),
            ("status.5xx", status(5)),
            ("expired", self.expired.value()),
            ("refused", self.refused.value()),
            ("cancelled", self.cancelled.value()),
            ("panics", self.panics.value()),
        ]
    }

    /// What was recorded since the last call, by the index of the route.
    pub(crate) fn take_latencies(&self) -> Vec<Latency> {
        self.latencies.borrow_mut().iter_mut().map(Latency::take).collect()
    }
}

/// What one worker says at one flush.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) counters: Vec<(&'static str, u64)>,
    pub(crate) upstream: Vec<(&'static str, u64)>,
    pub(crate) running: usize,
    pub(crate) queued: usize,
    pub(crate) outstanding: usize,
    pub(crate) latencies: Vec<(String, Latency)>,
}

/// Sums the workers' reports.
#[derive(Default)]
pub(crate) struct Summary {
    /// The upstream bus counts under the same names as the service's own: its names get a prefix, once per name.
    upstream_names: HashMap<&'static str, &'static str>,
}

impl Summary {
    #[expect(clippy::cast_precision_loss, reason = "a gauge of 2^53 requests is not going to be seen")]
    pub(crate) fn sum(&mut self, reports: Vec<Report>) -> Snapshot {
        let mut snapshot = Snapshot::default();
        let (mut running, mut queued, mut outstanding) = (0, 0, 0);
        for report in reports {
            add(&mut snapshot.counters, report.counters);
            let upstream = report.upstream.into_iter().map(|(name, value)| (self.upstream_name(name), value));
            add(&mut snapshot.counters, upstream.collect());
            running += report.running;
            queued += report.queued;
            outstanding += report.outstanding;
            merge(&mut snapshot, report.latencies);
        }
        snapshot.gauges = vec![
            ("in_service", running as f64),
            ("queued", queued as f64),
            ("outstanding", outstanding as f64),
        ];
        snapshot
    }

    fn upstream_name(&mut self, name: &'static str) -> &'static str {
        let prefixed = || -> &'static str { format!("upstream.{name}").leak() };
        self.upstream_names.entry(name).or_insert_with(prefixed)
    }
}

fn add(totals: &mut Vec<(&'static str, u64)>, counters: Vec<(&'static str, u64)>) {
    for (name, value) in counters {
        match totals.iter_mut().find(|(known, _)| *known == name) {
            Some((_, total)) => *total += value,
            None => totals.push((name, value)),
        }
    }
}

fn merge(snapshot: &mut Snapshot, latencies: Vec<(String, Latency)>) {
    for (route, latency) in latencies {
        let known = snapshot
            .latencies
            .iter_mut()
            .find(|(_, tag, _)| tag.as_ref().is_some_and(|(_, value)| *value == route));
        match known {
            Some((_, _, total)) => total.merge(&latency),
            None => snapshot.latencies.push(("latency", Some(("route", route)), latency)),
        }
    }
}
