//! Three services in a row, on real sockets: the edge asks `front`, which asks `middle`, which asks
//! `leaf`.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bus::{Body, Bus, Hello};
use tempfile::TempDir;

use crate::gate::Gate;
use crate::serve::{Server, Worker};
use crate::testing::{Peer, run, socket};
use crate::{Request, Response, Router};

/// A service on two buses: the one where it is asked, and the one where it asks.
struct Service {
    peer: Peer,
    /// Kept alive: the services that this one asks dial it.
    _upstream: Option<Peer>,
}

/// What a service saw of a request.
fn seen(request: &Request, version: &str) -> String {
    let fields = request.envelope().fields().filter(|(name, _)| name.starts_with(b":"));
    let decided = fields.filter(|(name, _)| !matches!(*name, b":method" | b":path"));
    let text =
        |(name, value)| format!("{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value));
    let decided: Vec<String> = decided.map(text).collect();
    format!("{version} shadow={} {}\n", request.is_shadow(), decided.join(" "))
}

/// A service `name` that dials `url`, and answers what it and those behind it saw of a request. It
/// listens at `upstream` for the service `next`.
fn service(url: &str, name: &str, version: &'static str, upstream: Option<(&str, &str)>) -> Service {
    let peer = Peer::dial(url, Some(Hello::new(name, version, format!("{name}-{version}"))));
    let (asking, next) = upstream.map(|(url, next)| (Peer::listen(url, None), next.to_owned())).unzip();
    let bus: Option<Bus> = asking.as_ref().map(|peer: &Peer| peer.bus.clone());
    let router = Router::new().reads_toggle(name).route(&format!("POST /{name}"), {
        let bus = bus.clone();
        move |request: Request| {
            let (bus, next) = (bus.clone(), next.clone());
            async move {
                let mut answer = seen(&request, version);
                if let (Some(bus), Some(next)) = (bus, next) {
                    let path = format!("/{next}");
                    let (route, now) = (bus.route("POST", &path).unwrap(), Instant::now());
                    let ask = request.ask("POST", path).idempotent();
                    let call = ask.send(&bus, route, Body::new(), now, now + Duration::from_secs(10));
                    let reply = call.await.unwrap();
                    answer += std::str::from_utf8(reply.envelope.body_bytes()).unwrap();
                }
                Response::text(answer)
            }
        }
    });
    let worker = Worker::new(router.finish().unwrap(), Gate::new(0, 0));
    peer.bus.serve(Rc::new(Server(Rc::clone(&worker))));
    let toggles = Rc::clone(&worker.routes.toggles);
    let mut hello = peer.bus.hello().unwrap();
    hello.routes.clone_from(&worker.routes.patterns);
    hello.toggles = toggles.announced(bus.as_ref());
    peer.bus.set_hello(hello);
    if let Some(bus) = bus {
        tokio::task::spawn_local(toggles.relay(peer.bus.clone(), bus));
    }
    Service { peer, _upstream: asking }
}

/// The edge, and the three services; `leaf` in these versions.
struct Row {
    edge: Peer,
    services: Vec<Service>,
    _dir: TempDir,
}

impl Row {
    async fn start(leaves: &[&'static str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let [front, middle, leaf] =
            ["front", "middle", "leaf"].map(|name| socket(dir.path(), &format!("{name}.sock")));
        let edge = Peer::listen(&front, None);
        let mut services = vec![
            service(&front, "front", "1", Some((&middle, "middle"))),
            service(&middle, "middle", "1", Some((&leaf, "leaf"))),
        ];
        services.extend(leaves.iter().map(|version| service(&leaf, "leaf", version, None)));
        edge.ready("POST", "/front").await;
        for (asks, path) in [(0, "/middle"), (1, "/leaf")] {
            let upstream = services[asks]._upstream.as_ref().unwrap();
            upstream.ready("POST", path).await;
            let count = if asks == 1 { leaves.len() } else { 1 };
            upstream.until(|bus| bus.routes().iter().all(|route| route.instances == count)).await;
        }
        Self { edge, services, _dir: dir }
    }
}

#[test]
fn decisions_of_the_edge_are_inherited_two_hops_down() {
    run(async {
        let row = Row::start(&["1"]).await;
        let question = row.edge.ask("POST", "/front").header("priority", "u=1").header("toggle", "forged");
        let question = question.toggle("front").variant("leaf", "a=b").pin("leaf", "1").priority("low");
        let answer = question.shadow().answer().await;
        let all = ":toggle=front :toggle=leaf=a=b :pin=leaf=1 :priority=low";
        assert_eq!(answer.text(), format!("1 shadow=true {all}\n").repeat(3));
        let answer = row.edge.ask("POST", "/front").answer().await;
        assert_eq!(answer.text(), "1 shadow=false \n".repeat(3), "nothing is decided");
    });
}

#[test]
fn a_pin_chooses_the_version_two_hops_down() {
    run(async {
        let row = Row::start(&["1", "2"]).await;
        for version in ["1", "2", "2", "1", "2", "1", "1"] {
            let question = row.edge.ask("POST", "/front").pin("middle", "1").pin("leaf", version);
            let answer = question.answer().await;
            let leaf = answer.text().lines().last().unwrap();
            assert!(leaf.starts_with(&format!("{version} shadow")), "{version}: {leaf}");
        }
        let missing = row.edge.ask("POST", "/front").pin("leaf", "3").answer().await;
        assert_eq!(missing.status, 200, "any other version serves");
        let missed = |service: &Service| {
            let counters = service._upstream.as_ref().map(|peer| peer.bus.counters()).unwrap_or_default();
            counters.into_iter().find(|(name, _)| *name == "bus.pins.missed").map(|(_, count)| count)
        };
        assert_eq!([missed(&row.services[0]), missed(&row.services[1])], [Some(0), Some(1)]);
    });
}

/// The edge decides the toggles that the hello of the service it asks names.
#[test]
fn a_service_announces_the_toggles_of_those_that_it_asks() {
    run(async {
        let row = Row::start(&["1"]).await;
        let route = row.edge.bus.route("POST", "/front").unwrap();
        row.edge.until(|bus| bus.toggles(route) == ["front", "leaf", "middle"]).await;
        let mut hello = row.services[2].peer.bus.hello().unwrap();
        hello.toggles = vec!["other".to_owned()];
        row.services[2].peer.bus.set_hello(hello);
        row.edge.until(|bus| bus.toggles(route) == ["front", "middle", "other"]).await;
    });
}
