//! How a service describes one of its workers to `role`: its metrics, and its part of `/ready`.
//!
//! Owns: nothing; reads a worker. Invariant: every counter of `stats` is in the picture.

use bus::{Bus, RouteInfo};
use role::metrics::{Group, Latencies, Picture, add_bus};
use role::readiness::{Health, Unready};

use crate::serve::Worker;

/// The service's metrics; `has_upstream` is true when it asks others on a bus of its own.
pub(crate) const fn groups(keeps_data: bool, has_upstream: bool) -> &'static [Group] {
    use Group::{All, Service, Store, Upstream};
    match (keeps_data, has_upstream) {
        (false, false) => &[All, Service],
        (false, true) => &[All, Service, Upstream],
        (true, false) => &[All, Service, Store],
        (true, true) => &[All, Service, Store, Upstream],
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
    let patterns = || worker.tally.patterns.iter().map(String::as_str);
    let hello = bus.hello();
    let service = hello.as_ref().map(|hello| hello.service.clone()).unwrap_or_default();
    let versions = hello.filter(|hello| hello.weight > 0).map(|hello| (hello.version, 1));
    let claim = |pattern: &str| RouteInfo {
        pattern: pattern.to_owned(),
        service: service.clone(),
        instances: versions.iter().len(),
        versions: versions.iter().cloned().collect(),
    };
    let mut picture = Picture {
        worker: number,
        routes: worker.tally.stats.routes(patterns(), latencies),
        claims: patterns().map(claim).collect(),
        ..Picture::default()
    };
    worker.tally.stats.add_to(&mut picture);
    picture.counters.extend(worker.routes.counters.iter().flat_map(|list| list()));
    picture.gauges.extend(worker.routes.gauges.iter().flat_map(|list| list()));
    picture
        .gauges
        .extend([("in_flight", worker.gate.running() as u64), ("queued", worker.gate.queued() as u64)]);
    add_bus(&mut picture, bus, upstream);
    picture
}

/// The reasons for which a worker takes no requests or would fail them; `weight` is the one that it
/// has once it takes them.
pub(crate) fn health(worker: &Worker, bus: &Bus, upstream: Option<&Bus>, weight: u32) -> Health {
    let mut health = Health::of(bus, upstream);
    health.unready.extend(worker.routes.unready.iter().filter_map(|reason| reason()));
    if weight > 0 && bus.hello().is_some_and(|hello| hello.weight == 0) {
        health.unready.push(Unready {
            reason: "joining",
            detail: "the services that it asks are not connected yet".to_owned(),
            remedy: "start them, or wait for --join-wait",
        });
    }
    health
}

#[cfg(test)]
mod tests {
    use bus::Hello;

    use super::*;
    use crate::gate::Gate;
    use crate::testing::{Peer, run, socket};
    use crate::{Response, Router};

    #[test]
    fn a_picture_has_the_routes_and_the_counters_of_the_service_s_own() {
        run(async {
            let dir = tempfile::tempdir().unwrap();
            let hello = Hello::new("s", "1", "a");
            let peer = Peer::dial(&socket(dir.path(), "bus.sock"), Some(hello));
            let router = Router::new()
                .route("GET /a", |_| async { Response::text("a") })
                .counters(|| vec![("store.commits", 3)]);
            let worker = Worker::new(router.finish().unwrap(), Gate::new(1, 1));
            let picture = picture(1, &worker, &peer.bus, None, Latencies::SinceStart);
            assert!(picture.counters.contains(&("store.commits", 3)), "{picture:?}");
            let [claim] = &picture.claims[..] else { panic!("HEAD is no route of its own: {picture:?}") };
            assert_eq!((claim.pattern.as_str(), claim.service.as_str(), claim.instances), ("GET /a", "s", 1));
            assert_eq!((picture.worker, picture.routes[0].pattern.as_str()), (1, "GET /a"));
        });
    }

    #[test]
    fn a_worker_without_its_weight_is_joining_and_its_own_reasons_are_told_too() {
        run(async {
            let dir = tempfile::tempdir().unwrap();
            let hello = Hello { weight: 0, ..Hello::new("s", "1", "a") };
            let peer = Peer::dial(&socket(dir.path(), "bus.sock"), Some(hello));
            let worker = |router: Router| Worker::new(router.finish().unwrap(), Gate::new(1, 1));
            let reasons = |worker: &Worker, weight| {
                let unready = health(worker, &peer.bus, None, weight).unready;
                unready.iter().map(|one| one.reason).collect::<Vec<_>>()
            };
            let plain = worker(Router::new());
            assert_eq!((reasons(&plain, 100), reasons(&plain, 0)), (vec!["joining"], vec![]));
            let silent = || Some(Unready { reason: "store", detail: String::new(), remedy: "" });
            assert_eq!(reasons(&worker(Router::new().unready(silent)), 0), ["store"]);
        });
    }
}
