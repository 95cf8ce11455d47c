//! The answers of `/routes`, `/peers` and `/stats`, from the workers' pictures.

use std::collections::BTreeMap;
use std::time::Duration;

use bus::PeerInfo;
use role::telemetry::Latency;
use serde::Serialize;

use crate::control::merge_latencies;
use crate::stats::Totals;
use crate::worker::Picture;

/// One claimed route.
#[derive(Debug, Serialize)]
pub(super) struct Route {
    pattern: String,
    service: String,
    /// Connected instances that take requests, as the worker with most of them sees it.
    instances: usize,
}

/// The claimed routes of all workers, by pattern.
pub(super) fn routes(pictures: &[Picture]) -> Vec<Route> {
    let mut routes: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for route in pictures.iter().flat_map(|picture| &picture.routes) {
        let instances = routes.entry((&route.pattern, &route.service)).or_default();
        *instances = route.instances.max(*instances);
    }
    let route = |((pattern, service), instances): ((&str, &str), usize)| Route {
        pattern: pattern.to_owned(),
        service: service.to_owned(),
        instances,
    };
    routes.into_iter().map(route).collect()
}

/// One pipe to a peer.
#[derive(Debug, Serialize)]
pub(super) struct Peer {
    /// The worker that has the connection.
    worker: usize,
    /// Its id there.
    pipe: u64,
    /// Workers that can send by it.
    workers: usize,
    endpoint: String,
    dialled: bool,
    /// The hello's fields; absent until it has come.
    #[serde(flatten)]
    hello: Option<Hello>,
    draining: bool,
    silent: bool,
    in_flight: u32,
    latency_us: u64,
    requests: u64,
    replies: u64,
    failures: u64,
    queued_messages: usize,
    queued_bytes: usize,
}

#[derive(Debug, Serialize)]
struct Hello {
    service: String,
    version: String,
    instance: String,
    weight: u32,
    limit: u32,
    routes: Vec<String>,
    topics: Vec<String>,
}

/// Every connection, once: what other workers sent by it is added to its owner's row.
pub(super) fn peers(pictures: &[Picture]) -> Vec<Peer> {
    let all =
        || pictures.iter().flat_map(|picture| picture.peers.iter().map(move |info| (picture.worker, info)));
    let own = all().filter(|(_, info)| info.via.is_none());
    let mut peers: Vec<Peer> = own.map(|(worker, info)| peer(worker, info)).collect();
    for (via, info) in all().filter_map(|(_, info)| Some((info.via?, info))) {
        if let Some(owner) = peers.iter_mut().find(|peer| (peer.worker, peer.pipe) == via) {
            owner.add(info);
        }
    }
    peers
}

impl Peer {
    fn add(&mut self, info: &PeerInfo) {
        self.workers += 1;
        self.in_flight += info.in_flight;
        self.latency_us = self.latency_us.max(microseconds(info.latency));
        self.requests += info.requests;
        self.replies += info.replies;
        self.failures += info.failures;
        self.queued_messages += info.queued_messages;
        self.queued_bytes += info.queued_bytes;
    }
}

fn peer(worker: usize, info: &PeerInfo) -> Peer {
    let hello = info.hello.as_ref().map(|hello| Hello {
        service: hello.service.clone(),
        version: hello.version.clone(),
        instance: hello.instance.clone(),
        weight: hello.weight,
        limit: hello.limit,
        routes: hello.routes.iter().map(ToString::to_string).collect(),
        topics: hello.topics.clone(),
    });
    Peer {
        worker,
        pipe: info.pipe,
        workers: 1,
        endpoint: info.endpoint.clone(),
        dialled: info.dialled,
        hello,
        draining: info.draining,
        silent: info.silent,
        in_flight: info.in_flight,
        latency_us: microseconds(info.latency),
        requests: info.requests,
        replies: info.replies,
        failures: info.failures,
        queued_messages: info.queued_messages,
        queued_bytes: info.queued_bytes,
    }
}

/// Everything that is counted.
#[derive(Debug, Serialize)]
pub(super) struct Stats {
    /// All workers together.
    #[serde(flatten)]
    total: Numbers,
    /// Latency by route pattern, all workers together.
    routes: BTreeMap<String, RouteLatency>,
    workers: Vec<Numbers>,
}

#[derive(Debug, Serialize)]
struct Numbers {
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<usize>,
    #[serde(flatten)]
    counters: BTreeMap<&'static str, u64>,
    connections_open: u64,
    in_flight: u64,
    outstanding: u64,
    /// Responses by status.
    statuses: BTreeMap<u16, u64>,
    /// Turned away, by reason.
    rejected: BTreeMap<&'static str, u64>,
    /// The bus's counters.
    bus: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Serialize)]
struct RouteLatency {
    count: u64,
    under_25ms: u64,
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
}

/// Sums the workers.
pub(super) fn stats(pictures: Vec<Picture>) -> Stats {
    let mut total = Totals::default();
    let mut latencies = Vec::new();
    let mut workers = Vec::new();
    for picture in pictures {
        total.add(&picture.totals);
        workers.push(numbers(Some(picture.worker), picture.totals));
        merge_latencies(&mut latencies, picture.latencies);
    }
    let routes = latencies.into_iter().map(|(route, latency)| (route, route_latency(&latency))).collect();
    Stats { total: numbers(None, total), routes, workers }
}

fn numbers(worker: Option<usize>, totals: Totals) -> Numbers {
    Numbers {
        worker,
        counters: totals.counters.into_iter().collect(),
        connections_open: totals.connections_open,
        in_flight: totals.in_flight,
        outstanding: totals.outstanding,
        statuses: totals.statuses.into_iter().collect(),
        rejected: totals.rejected.into_iter().collect(),
        bus: totals.bus.into_iter().collect(),
    }
}

fn route_latency(latency: &Latency) -> RouteLatency {
    RouteLatency {
        count: latency.count(),
        under_25ms: latency.under_target(),
        p50_us: microseconds(latency.quantile(0.5)),
        p99_us: microseconds(latency.quantile(0.99)),
        max_us: microseconds(latency.max()),
    }
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use bus::RouteInfo;

    use super::*;

    fn picture(worker: usize, responses: u64, instances: usize) -> Picture {
        Picture {
            worker,
            totals: Totals {
                counters: vec![("responses", responses)],
                statuses: vec![(200, responses)],
                ..Totals::default()
            },
            latencies: Vec::new(),
            peers: Vec::new(),
            routes: vec![RouteInfo { pattern: "GET /a".to_owned(), service: "s".to_owned(), instances }],
        }
    }

    #[test]
    fn stats_are_the_sum_and_each_share() {
        let report = serde_json::to_value(stats(vec![picture(0, 2, 1), picture(1, 3, 1)])).unwrap();
        assert_eq!(report["responses"], 5);
        assert_eq!(report["statuses"]["200"], 5);
        assert_eq!(report["workers"][1]["responses"], 3);
        assert_eq!(report["workers"][1]["worker"], 1);
    }

    #[test]
    fn a_route_is_listed_once_whatever_the_number_of_workers() {
        let report = serde_json::to_value(routes(&[picture(0, 0, 1), picture(1, 0, 2)])).unwrap();
        assert_eq!(report, serde_json::json!([{ "pattern": "GET /a", "service": "s", "instances": 2 }]));
    }
}
