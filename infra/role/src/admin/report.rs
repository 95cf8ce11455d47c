//! The answers of `/routes` and `/peers`, from the workers' pictures.
//!
//! Owns: their shapes, which are the same in every role. Times are integers in microseconds.
//! Invariant: a route and a connection have one row, whatever the number of workers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bus::PeerInfo;
use serde::Serialize;

use super::rates::Rates;
use crate::metrics::{Latency, Picture};

/// One route that is claimed, or was.
#[derive(Debug, Serialize)]
pub(super) struct Route {
    pattern: String,
    /// Who claims it; empty when it is not claimed any more.
    service: String,
    /// Connected instances that take requests, as the worker with most of them sees it.
    instances: usize,
    /// The same by version.
    versions: BTreeMap<String, usize>,
    /// Requests answered since the start.
    requests: u64,
    /// Requests per second over the last minute.
    rate: f64,
    /// Answers with a status of 500 and above.
    errors: u64,
    p50_us: u64,
    p99_us: u64,
}

/// The instances that claim a route: all of them, and by version.
type Claimants = (usize, BTreeMap<String, usize>);

/// The routes of all workers, by pattern.
pub(super) fn routes(pictures: &[Picture], rates: &Rates, now: Instant) -> Vec<Route> {
    let mut claims: BTreeMap<(&str, &str), Claimants> = BTreeMap::new();
    for claim in pictures.iter().flat_map(|picture| &picture.claims) {
        let (instances, versions) = claims.entry((&claim.pattern, &claim.service)).or_default();
        *instances = claim.instances.max(*instances);
        for (version, count) in &claim.versions {
            let most = versions.entry(version.clone()).or_default();
            *most = (*count).max(*most);
        }
    }
    let mut numbers: BTreeMap<&str, (u64, u64, Latency)> = BTreeMap::new();
    for route in pictures.iter().flat_map(|picture| &picture.routes) {
        let (requests, errors, latency) = numbers.entry(&route.pattern).or_default();
        *requests += route.requests;
        *errors += route.errors;
        latency.merge(&route.latency);
        if !claims.keys().any(|(pattern, _)| *pattern == route.pattern) {
            claims.insert((&route.pattern, ""), Default::default());
        }
    }
    let route = |((pattern, service), (instances, versions))| {
        let (requests, errors, latency) = numbers.get(pattern).cloned().unwrap_or_default();
        Route {
            pattern: str::to_owned(pattern),
            service: str::to_owned(service),
            instances,
            versions,
            requests,
            rate: rates.per_second(now, pattern, requests),
            errors,
            p50_us: microseconds(latency.quantile(0.5)),
            p99_us: microseconds(latency.quantile(0.99)),
        }
    };
    claims.into_iter().map(route).collect()
}

/// One pipe to a peer.
#[derive(Debug, Serialize)]
pub(super) struct Peer {
    /// `bus`, or `upstream` for the bus on which a service asks others.
    bus: &'static str,
    /// The worker that has the connection.
    worker: usize,
    /// Its id there.
    pipe: u64,
    /// Workers that can send by it.
    workers: usize,
    endpoint: String,
    dialled: bool,
    /// This and the next six are from its hello: null and empty for a peer that said none.
    service: Option<String>,
    version: Option<String>,
    instance: Option<String>,
    weight: Option<u32>,
    limit: Option<u32>,
    routes: Vec<String>,
    topics: Vec<String>,
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

/// Every connection once: the numbers of other workers that send by it are added to its owner's
/// row.
pub(super) fn peers(pictures: &[Picture]) -> Vec<Peer> {
    let all = || {
        let of = |picture: &Picture| {
            let worker = picture.worker;
            picture.peers.iter().map(move |peer| (worker, peer.bus, peer.info.clone())).collect::<Vec<_>>()
        };
        pictures.iter().flat_map(of)
    };
    let own = all().filter(|(.., info)| info.via.is_none());
    let mut peers: Vec<Peer> = own.map(|(worker, bus, info)| peer(worker, bus, &info)).collect();
    for (bus, via, info) in all().filter_map(|(_, bus, info)| Some((bus, info.via?, info))) {
        let is_owner = |peer: &&mut Peer| peer.bus == bus && (peer.worker, peer.pipe) == via;
        if let Some(owner) = peers.iter_mut().find(is_owner) {
            owner.add(&info);
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

fn peer(worker: usize, bus: &'static str, info: &PeerInfo) -> Peer {
    let hello = info.hello.as_ref();
    let routes = |hello: &bus::Hello| hello.routes.iter().map(ToString::to_string).collect();
    Peer {
        bus,
        worker,
        pipe: info.pipe,
        workers: 1,
        endpoint: info.endpoint.clone(),
        dialled: info.dialled,
        service: hello.map(|hello| hello.service.clone()),
        version: hello.map(|hello| hello.version.clone()),
        instance: hello.map(|hello| hello.instance.clone()),
        weight: hello.map(|hello| hello.weight),
        limit: hello.map(|hello| hello.limit),
        routes: hello.map(routes).unwrap_or_default(),
        topics: hello.map(|hello| hello.topics.clone()).unwrap_or_default(),
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

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use bus::RouteInfo;

    use super::*;
    use crate::metrics::RoutePicture;

    fn picture(worker: usize, version: &str, instances: usize) -> Picture {
        let route = |pattern: &str| RoutePicture {
            pattern: pattern.to_owned(),
            requests: 3,
            errors: 1,
            latency: Latency::new(),
        };
        Picture {
            worker,
            routes: vec![route("GET /a"), route("GET /gone")],
            claims: vec![RouteInfo {
                pattern: "GET /a".to_owned(),
                service: "s".to_owned(),
                instances,
                versions: BTreeMap::from([(version.to_owned(), instances)]),
            }],
            ..Picture::default()
        }
    }

    #[test]
    fn a_route_has_one_row_whatever_the_number_of_workers() {
        let now = Instant::now();
        let report =
            routes(&[picture(0, "1", 1), picture(1, "2", 2)], &Rates::new(now), now + Duration::from_secs(3));
        let row = |pattern: &str, service: &str, instances: usize, versions: serde_json::Value| {
            serde_json::json!({
                "pattern": pattern, "service": service, "instances": instances, "versions": versions,
                "requests": 6, "rate": 2.0, "errors": 2, "p50_us": 0, "p99_us": 0,
            })
        };
        let report = serde_json::to_value(report).expect("is JSON");
        let both = serde_json::json!({"1": 1, "2": 2});
        let rows = [row("GET /a", "s", 2, both), row("GET /gone", "", 0, serde_json::json!({}))];
        assert_eq!(report, serde_json::json!(rows));
    }
}
