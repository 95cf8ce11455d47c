//! statsd: one flush an interval, of all workers together.

use std::rc::Rc;

use anyhow::{Result, anyhow};
use role::telemetry::{Latency, Snapshot};
use role::worker::Workers;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::config;
use crate::stats::Totals;
use crate::worker::Worker;

/// Resolves the daemon's address.
pub(super) fn connect(config: Option<&config::Statsd>) -> Result<Option<role::telemetry::Statsd>> {
    let connect = |statsd: &config::Statsd| {
        role::telemetry::Statsd::new(&statsd.target, &statsd.prefix, statsd.dogstatsd)
            .map_err(|error| anyhow!("--statsd {}: {error}", statsd.target))
    };
    config.map(connect).transpose()
}

/// The flushing task, if there is one.
pub(super) struct Flush(Option<(JoinHandle<()>, oneshot::Sender<()>)>);

impl Flush {
    /// Sends what is left and ends the task.
    pub(super) async fn last(self) {
        if let Some((task, stop)) = self.0 {
            drop(stop);
            if task.await.is_err() {
                tracing::error!("the statsd task panicked");
            }
        }
    }
}

/// Starts flushing.
pub(super) fn start(
    config: Option<&config::Statsd>,
    statsd: Option<role::telemetry::Statsd>,
    workers: Rc<Workers<Rc<Worker>>>,
) -> Flush {
    let (Some(config), Some(mut statsd)) = (config, statsd) else { return Flush(None) };
    let mut ticks = tokio::time::interval(config.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (stop, mut stopped) = oneshot::channel();
    let task = tokio::task::spawn_local(async move {
        loop {
            let last = tokio::select! {
                _ = ticks.tick() => false,
                _ = &mut stopped => true,
            };
            let shares = workers.ask(|worker| (worker.totals(), worker.routes.take_latencies())).await;
            statsd.flush(&snapshot(shares));
            if last {
                return;
            }
        }
    });
    Flush(Some((task, stop)))
}

fn snapshot(shares: Vec<(Totals, Vec<(String, Latency)>)>) -> Snapshot {
    let mut totals = Totals::default();
    let mut latencies: Vec<(String, Latency)> = Vec::new();
    for (share, of_routes) in shares {
        totals.add(&share);
        merge(&mut latencies, of_routes);
    }
    let mut all = Latency::new();
    latencies.iter().for_each(|(_, latency)| all.merge(latency));
    let mut counters = totals.counters;
    counters.extend(class_counters(&totals.statuses));
    counters.extend(totals.rejected);
    counters.extend(totals.bus);
    #[allow(clippy::cast_precision_loss)] // Counts of what is open are far below 2^52.
    let gauges = vec![
        ("connections_open", totals.connections_open as f64),
        ("in_flight", totals.in_flight as f64),
        ("outstanding", totals.outstanding as f64),
    ];
    let mut of_latency = vec![("latency", None, all)];
    of_latency
        .extend(latencies.into_iter().map(|(route, one)| ("route_latency", Some(("route", route)), one)));
    Snapshot { counters, gauges, latencies: of_latency }
}

/// Adds another worker's latencies, route by route.
pub(crate) fn merge(sums: &mut Vec<(String, Latency)>, others: Vec<(String, Latency)>) {
    for (route, latency) in others {
        match sums.iter_mut().find(|(known, _)| *known == route) {
            Some((_, sum)) => sum.merge(&latency),
            None => sums.push((route, latency)),
        }
    }
}

/// Statuses by class: dashboards and alerts want few names.
fn class_counters(statuses: &[(u16, u64)]) -> [(&'static str, u64); 4] {
    let class =
        |hundred: u16| statuses.iter().filter(|(status, _)| status / 100 == hundred).map(|(_, n)| n).sum();
    [
        ("responses_2xx", class(2)),
        ("responses_3xx", class(3)),
        ("responses_4xx", class(4)),
        ("responses_5xx", class(5)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_summed_before_anything_is_sent() {
        let share = |status| Totals {
            counters: vec![("requests", 2)],
            statuses: vec![(status, 2)],
            rejected: vec![("no_route", 1)],
            in_flight: 1,
            ..Totals::default()
        };
        let route = || vec![("GET /a".to_owned(), Latency::new())];
        let snapshot = snapshot(vec![(share(200), route()), (share(404), route())]);
        for counter in [("requests", 4), ("responses_2xx", 2), ("responses_4xx", 2), ("no_route", 2)] {
            assert!(snapshot.counters.contains(&counter), "{counter:?} in {:?}", snapshot.counters);
        }
        assert!(snapshot.gauges.contains(&("in_flight", 2.0)));
        assert_eq!(snapshot.latencies.len(), 2);
    }
}
