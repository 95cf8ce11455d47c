//! What a worker counts, and how it is shown to operators.
//!
//! Owns: the counters, and their names in the table of `role::metrics`. Leaves sums and sending to
//! crate `role`.

use std::cell::RefCell;
use std::time::Duration;

use bus::{Bus, RouteInfo};
use role::metrics::{Counter, Latencies, Latency, Picture, RoutePicture, Statuses, add_bus};
use role::readiness::{Health, Unready};

use crate::serve::Worker;

/// One worker's counters since its start.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) requests: Counter,
    statuses: Statuses,
    /// Expired while they waited for a place.
    pub(crate) expired: Counter,
    /// Refused because limit and queue were full.
    pub(crate) refused: Counter,
    /// Dropped unfinished: the asker cancelled, or the worker ended.
    pub(crate) cancelled: Counter,
    pub(crate) panics: Counter,
    /// By the index of the route.
    routes: RefCell<Vec<Route>>,
}

#[derive(Clone, Debug, Default)]
struct Route {
    latency: Latency,
    errors: u64,
}

impl Stats {
    pub(crate) fn new(routes: usize) -> Self {
        Self { routes: RefCell::new(vec![Route::default(); routes]), ..Self::default() }
    }

    pub(crate) fn answered(&self, status: u16) {
        self.statuses.count(status);
    }

    pub(crate) fn took(&self, route: usize, status: u16, elapsed: Duration) {
        let route = &mut self.routes.borrow_mut()[route];
        route.latency.record(elapsed);
        if status >= 500 {
            route.errors += 1;
        }
    }

    fn add_to(&self, picture: &mut Picture) {
        picture.counters.extend([
            ("requests", self.requests.value()),
            ("cancelled", self.cancelled.value()),
            ("panics", self.panics.value()),
        ]);
        picture.statuses = self.statuses.list();
        picture.rejected = vec![("expired", self.expired.value()), ("full", self.refused.value())];
    }

    fn routes<'a>(&self, patterns: impl Iterator<Item = &'a str>, latencies: Latencies) -> Vec<RoutePicture> {
        let mut routes = self.routes.borrow_mut();
        let picture = |(route, pattern): (&mut Route, &str)| RoutePicture {
            pattern: pattern.to_owned(),
            requests: route.latency.count(),
            errors: route.errors,
            latency: route.latency.of(latencies),
        };
        routes.iter_mut().zip(patterns).map(picture).collect()
    }
}

/// Worker number `number` as operators see it.
pub(crate) fn picture(
    number: usize,
    worker: &Worker,
    bus: &Bus,
    upstream: Option<&Bus>,
    latencies: Latencies,
) -> Picture {
    let patterns = || worker.routes.entries.iter().map(|entry| entry.pattern.as_str());
    let hello = bus.hello();
    let service = hello.as_ref().map(|hello| hello.service.clone()).unwrap_or_default();
    let takes_requests = hello.is_some_and(|hello| hello.weight > 0);
    let claim = |pattern: &str| RouteInfo {
        pattern: pattern.to_owned(),
        service: service.clone(),
        instances: usize::from(takes_requests),
    };
    let mut picture = Picture {
        worker: number,
        routes: worker.stats.routes(patterns(), latencies),
        claims: patterns().map(claim).collect(),
        ..Picture::default()
    };
    worker.stats.add_to(&mut picture);
    picture.counters.extend(worker.routes.counters.iter().flat_map(|list| list()));
    picture
        .gauges
        .extend([("in_flight", worker.gate.running() as u64), ("queued", worker.gate.queued() as u64)]);
    add_bus(&mut picture, bus, upstream);
    picture
}

/// Whether a worker takes requests; `weight` is the one that it has when it does.
pub(crate) fn health(bus: &Bus, upstream: Option<&Bus>, weight: u32) -> Health {
    let mut health = Health::of(bus, upstream);
    if weight > 0 && bus.hello().is_some_and(|hello| hello.weight == 0) {
        health.unready.push(Unready {
            reason: "joining",
            detail: "the services that it asks are not connected yet".to_owned(),
            remedy: "start them, or wait for --join-wait",
        });
    }
    health
}
