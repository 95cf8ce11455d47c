//! Requests that want a version, and copies, over real sockets.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::net::TcpStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bus::proto::limits::SHADOWS_MAX;
use bus::proto::sp::{Framing, OPENING};
use bus::proto::{Header, Kind};
use bus::{
    Body, Bus, Config, Endpoint, Flags, Head, HeadWriter, Hello, Incoming, Options, RequestError, Response,
    Route, Serve, Serving, To, VersionId, bind,
};
use bytes::BytesMut;

const PATIENCE: Duration = Duration::from_secs(20);

struct Get;

impl Head for Get {
    fn encode(&self, head: &mut HeadWriter<'_>) {
        head.field(":method", "GET");
        head.field(":path", "/a");
    }
}

/// Answers with its version, and whether the request is a copy.
struct Named(&'static str);

impl Serve for Named {
    fn serve(&self, request: Incoming) -> Serving {
        let is_copy = request.envelope.header().flags.contains(Flags::SHADOW);
        Serving::Now(Response::new(200).body(format!("{} {is_copy}", self.0)))
    }
}

/// Runs a test on a worker's kind of runtime.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("the test took too long") });
}

fn hello(version: &str) -> Hello {
    let mut hello = Hello::new("s", version, format!("of-{version}"));
    hello.routes = vec!["GET /a".parse().unwrap()];
    hello
}

/// An asker, and the port that it listens on.
fn asker() -> (Bus, u16) {
    let listen = vec!["tcp://127.0.0.1:0".parse().unwrap()];
    let seed = bind(&Config { listen, ..Config::default() }, 1).unwrap().remove(0);
    let Endpoint::Tcp { port, .. } = seed.listening()[0] else { panic!("tcp was asked for") };
    (seed.start(), port)
}

/// A service of this version.
fn service(port: u16, version: &'static str) -> Bus {
    let dial = vec![format!("tcp://127.0.0.1:{port}").parse().unwrap()];
    let bus = bind(&Config { dial, hello: Some(hello(version)), ..Config::default() }, 1).unwrap();
    let bus = bus.into_iter().next().unwrap().start();
    bus.serve(Rc::new(Named(version)));
    bus
}

/// A peer that says hello and never answers.
fn mute(port: u16, version: &str) -> TcpStream {
    let mut head = BytesMut::new();
    let mut writer = HeadWriter::new(&mut head);
    hello(version).encode(&mut writer);
    let head_len = writer.finish().unwrap();
    let header = Header::new(Kind::Hello).to_bytes(u32::try_from(head_len).unwrap());
    let framed = [&OPENING, &Framing::Tcp.prefix(header.len() + head_len)[1..], &header, &head].concat();
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.write_all(&framed).unwrap();
    socket
}

/// The route, once as many instances of each version have joined.
async fn route(bus: &Bus, versions: &[(&str, usize)]) -> Route {
    let wanted = versions.iter().map(|(version, count)| ((*version).to_owned(), *count)).collect();
    until(|| bus.routes().first().is_some_and(|route| route.versions == wanted)).await;
    bus.route("GET", "/a").unwrap()
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

fn options(to: To, flags: Flags) -> Options {
    let asked = Instant::now();
    Options { asked, deadline: asked + PATIENCE, hold: PATIENCE, flags, to }
}

fn counter(bus: &Bus, name: &str) -> u64 {
    bus.counters().into_iter().find(|(known, _)| *known == name).unwrap().1
}

#[test]
fn a_call_knows_which_version_and_instance_answered() {
    run(async {
        let (asker, port) = asker();
        let _services = [service(port, "1"), service(port, "2")];
        let route = route(&asker, &[("1", 1), ("2", 1)]).await;
        for version in ["1", "2", "1", "1", "2"] {
            let to = To::Prefer(VersionId::of(version));
            let mut call = asker.request(route, Get, Body::new(), options(to, Flags::NONE));
            assert_eq!(call.instance(), None, "it is not sent yet");
            let reply = (&mut call).await.unwrap();
            assert_eq!(reply.envelope.body(), format!("{version} false"));
            let instance = call.instance().unwrap();
            assert_eq!(instance.version, VersionId::of(version));
            assert_eq!(asker.hello_of(instance.pipe).unwrap().instance, format!("of-{version}"));
        }
        assert_eq!(counter(&asker, "bus.pins.missed"), 0);
    });
}

#[test]
fn a_copy_reaches_the_candidate_and_its_reply_is_delivered() {
    run(async {
        let (asker, port) = asker();
        let _services = [service(port, "1"), service(port, "2")];
        let route = route(&asker, &[("1", 1), ("2", 1)]).await;
        let to = To::Only(VersionId::of("2"));
        let copy = asker.shadow(route, &Get, &[], options(to, Flags::NONE)).unwrap();
        assert_eq!(copy.instance().version, VersionId::of("2"));
        let reply = copy.await.unwrap();
        assert_eq!(reply.envelope.body(), "2 true");
        assert!(reply.envelope.header().flags.contains(Flags::SHADOW));
        let none = asker.shadow(route, &Get, &[], options(To::Only(VersionId::of("3")), Flags::NONE));
        assert!(none.is_none(), "no instance has this version");
        assert_eq!((counter(&asker, "bus.shadows.sent"), counter(&asker, "bus.shadows.dropped")), (1, 1));
        assert_eq!(counter(&asker, "bus.requests.held"), 0);
    });
}

#[test]
fn a_lost_copy_is_not_sent_again_and_a_lost_request_falls_back() {
    run(async {
        let (asker, port) = asker();
        let _stable = service(port, "1");
        let candidate = mute(port, "2");
        let route = route(&asker, &[("1", 1), ("2", 1)]).await;
        let version = VersionId::of("2");
        let copy = asker.shadow(route, &Get, &[], options(To::Only(version), Flags::IDEMPOTENT)).unwrap();
        // What a copy causes two hops down is sent by `request`, with its flag.
        let flags = Flags::IDEMPOTENT.union(Flags::SHADOW);
        let caused = asker.request(route, Get, Body::new(), options(To::Prefer(version), flags));
        let mut call =
            asker.request(route, Get, Body::new(), options(To::Prefer(version), Flags::IDEMPOTENT));
        let lose = async {
            until(|| asker.outstanding() == 3).await;
            drop(candidate);
        };
        let (copied, caused, called, ()) = tokio::join!(copy, caused, &mut call, lose);
        assert_eq!(copied.unwrap_err(), RequestError::Lost { service: "s".to_owned() });
        assert_eq!(caused.unwrap_err(), RequestError::Lost { service: "s".to_owned() });
        assert_eq!(called.unwrap().envelope.body(), "1 false");
        assert_eq!(call.instance().unwrap().version, VersionId::of("1"));
        assert_eq!((counter(&asker, "bus.requests.retried"), counter(&asker, "bus.pins.missed")), (1, 1));
    });
}

#[test]
fn copies_are_bounded_and_a_dropped_one_frees_its_place() {
    run(async {
        let (asker, port) = asker();
        let _candidate = mute(port, "2");
        let route = route(&asker, &[("2", 1)]).await;
        let send = || asker.shadow(route, &Get, &[], options(To::Any, Flags::NONE));
        let copies: Vec<_> = (0..SHADOWS_MAX).map(|_| send().unwrap()).collect();
        assert!(send().is_none());
        drop(copies);
        assert_eq!(asker.outstanding(), 0);
        assert!(send().is_some());
    });
}

#[test]
fn what_a_copy_causes_does_not_wait_for_an_instance() {
    run(async {
        let (asker, port) = asker();
        let candidate = mute(port, "2");
        let route = route(&asker, &[("2", 1)]).await;
        drop(candidate);
        until(|| asker.routes()[0].instances == 0).await;
        let refused = asker.request(route, Get, Body::new(), options(To::Any, Flags::SHADOW)).await;
        assert_eq!(refused.unwrap_err(), RequestError::NoInstance { service: "s".to_owned() });
        assert_eq!(counter(&asker, "bus.requests.held"), 0);
        assert_eq!(counter(&asker, "bus.shadows.dropped"), 1);
    });
}

#[test]
fn the_toggles_of_all_versions_are_known_by_route() {
    run(async {
        let (asker, port) = asker();
        let services = [service(port, "1"), service(port, "2")];
        let route = route(&asker, &[("1", 1), ("2", 1)]).await;
        assert!(asker.toggles(route).is_empty());
        let before = asker.routes_version();
        for (service, toggles) in services.iter().zip([["b", "a"], ["c", "b"]]) {
            let mut hello = service.hello().unwrap();
            hello.toggles = toggles.map(str::to_owned).into();
            service.set_hello(hello);
        }
        until(|| asker.toggles(route) == ["a", "b", "c"]).await;
        assert_ne!(asker.routes_version(), before);
    });
}
