//! An asker and services in one process, on real sockets, over every transport.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bus::{
    Body, Bus, Config, Endpoint, Flags, Head, HeadWriter, Hello, Incoming, Limits, Options, RequestError,
    Response, Serve, Serving, To, bind,
};
use bytes::Bytes;
use role::Scheduling;
use role::worker::{self, Workers};

struct Get(&'static str);

impl Head for Get {
    fn encode(&self, head: &mut HeadWriter<'_>) {
        head.field(":method", "GET");
        head.field(":path", self.0);
    }
}

/// Answers `/echo` with the body, `/big` with a body of three messages' length, `/late` after the
/// deadline, and `/never` not at all.
struct Echo;

const BIG: usize = 2_500_000;

impl Serve for Echo {
    fn serve(&self, request: Incoming) -> Serving {
        match request.path() {
            "/big" => Serving::Now(Response::new(200).body(vec![7; BIG])),
            "/wait" => Serving::Later(Box::pin(async {
                tokio::task::yield_now().await;
                Response::new(201)
            })),
            "/slow" => Serving::Later(Box::pin(async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                Response::new(201)
            })),
            "/never" => Serving::Later(Box::pin(std::future::pending())),
            _ => Serving::Now(Response::new(200).field("x-a", "b").body(request.envelope.body())),
        }
    }
}

fn hello(instance: &str) -> Hello {
    let mut hello = Hello::new("echo", "1", instance);
    hello.routes = ["GET /echo", "GET /big", "GET /wait", "GET /slow", "GET /never"]
        .map(|route| route.parse().unwrap())
        .into();
    hello
}

fn service(config: Config, workers: usize) -> Workers<Bus> {
    let seeds = bind(&config, workers).unwrap();
    worker::start("service", Scheduling::Inherit, seeds, |_, bus| {
        bus.serve(Rc::new(Echo));
        Ok(bus)
    })
    .unwrap()
}

fn asker(config: &Config, workers: usize) -> (Workers<Bus>, Endpoint) {
    let seeds = bind(config, workers).unwrap();
    let listening = seeds[0].listening()[0].clone();
    (worker::start("asker", Scheduling::Inherit, seeds, |_, bus| Ok::<_, io::Error>(bus)).unwrap(), listening)
}

/// Waits until every worker of the asker sees `instances` instances.
async fn until_instances(asker: &Workers<Bus>, instances: usize) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let seen = asker.ask(|bus| bus.routes().first().map_or(0, |route| route.instances)).await;
        if seen.iter().all(|seen| *seen == instances) {
            return;
        }
        assert!(Instant::now() < deadline, "{seen:?} instances, not {instances}");
        tokio::task::yield_now().await;
    }
}

type Answer = Result<(u16, usize), RequestError>;

/// Sends `each` requests from every worker at once. Returns the status of each reply, and the
/// length of its body including its parts.
async fn ask_all(
    asker: &Workers<Bus>,
    each: usize,
    path: &'static str,
    body: &'static [u8],
    patience: Duration,
) -> Vec<Answer> {
    let (answer, mut answers) = tokio::sync::mpsc::channel(8);
    let asked = asker.ask(move |bus| {
        for _ in 0..each {
            let (bus, answer) = (bus.clone(), answer.clone());
            tokio::task::spawn_local(async move {
                let route = bus.route("GET", path).unwrap();
                let asked = Instant::now();
                let options = Options {
                    asked,
                    deadline: asked + patience,
                    hold: std::time::Duration::ZERO,
                    flags: Flags::IDEMPOTENT,
                    to: To::Any,
                };
                let body: Body = std::iter::once(Bytes::from_static(body)).collect();
                let reply = bus.request(route, Get(path), body, options).await;
                answer.send(whole(reply).await).await.expect("the test receives it");
            });
        }
    });
    let all = asked.await.len() * each;
    let mut received = Vec::new();
    while received.len() < all {
        received.push(answers.recv().await.expect("an answer"));
    }
    received
}

async fn ask(asker: &Workers<Bus>, path: &'static str, body: &'static [u8], patience: Duration) -> Answer {
    ask_all(asker, 1, path, body, patience).await.remove(0)
}

async fn whole(reply: Result<bus::Reply, RequestError>) -> Answer {
    let mut reply = reply?;
    let mut len = reply.envelope.body().len();
    if let Some(parts) = &mut reply.parts {
        while let Some(part) = std::future::poll_fn(|cx| parts.poll_next(cx)).await {
            len += part?.len();
        }
    }
    Ok((reply.status, len))
}

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn every_transport_carries_requests_large_replies_and_waits() {
    let dir = tempfile::tempdir().unwrap();
    let ipc = format!("ipc://{}/a.sock", dir.path().display());
    for listen in ["tcp://127.0.0.1:0", &ipc, "inproc://roundtrip"] {
        let config = Config { listen: vec![listen.parse().unwrap()], ..Config::default() };
        let (asker, listening) = asker(&config, 1);
        let service =
            service(Config { dial: vec![listening], hello: Some(hello("1")), ..Config::default() }, 1);
        until_instances(&asker, 1).await;
        assert_eq!(ask(&asker, "/echo", b"hello", PATIENCE).await, Ok((200, 5)), "{listen}");
        assert_eq!(ask(&asker, "/big", b"", PATIENCE).await, Ok((200, BIG)), "{listen}");
        assert_eq!(ask(&asker, "/wait", b"", PATIENCE).await, Ok((201, 0)), "{listen}");
        let late = ask(&asker, "/never", b"", Duration::from_millis(20)).await;
        assert_eq!(late, Err(RequestError::Deadline { service: "echo".into() }), "{listen}");
        let drained = service.stop(|bus| async move { bus.drain(Instant::now() + PATIENCE).await }).await;
        assert_eq!(drained, [true], "the cancel of /never has freed it");
        until_instances(&asker, 0).await;
        let gone = ask(&asker, "/echo", b"", PATIENCE).await;
        assert_eq!(gone, Err(RequestError::NoInstance { service: "echo".into() }));
        assert_eq!(asker.ask(Bus::outstanding).await, [0]);
        asker.stop(|_| async {}).await;
    }
}

#[tokio::test]
async fn dozens_of_bodies_of_the_longest_kind_at_once_all_arrive() {
    const BODIES: usize = 40;
    static BODY: [u8; 1_000_000] = [7; 1_000_000];
    let dir = tempfile::tempdir().unwrap();
    for place in [format!("ipc://{}", dir.path().join("bodies").display()), "tcp://127.0.0.1:0".to_owned()] {
        let listen = Config { listen: vec![place.parse().unwrap()], ..Config::default() };
        let (asker, listening) = asker(&listen, 1);
        let dial = Config { dial: vec![listening], hello: Some(hello("1")), ..Config::default() };
        let service = service(dial, 1);
        until_instances(&asker, 1).await;
        let answers = ask_all(&asker, BODIES, "/echo", &BODY, PATIENCE).await;
        assert_eq!(answers, vec![Ok((200, BODY.len())); BODIES], "{place}");
        let dropped = service.ask(|bus| counter(bus, "bus.replies.dropped")).await;
        assert_eq!(dropped, [0], "{place}");
    }
}

fn counter(bus: &Bus, name: &str) -> u64 {
    bus.counters().into_iter().find(|(known, _)| *known == name).unwrap().1
}

#[tokio::test]
async fn a_service_that_listens_is_dialled_and_dialled_again() {
    let dir = tempfile::tempdir().unwrap();
    let path: Endpoint = format!("ipc://{}/service.sock", dir.path().display()).parse().unwrap();
    let config = Config {
        listen: vec!["inproc://unused".parse().unwrap()],
        dial: vec![path.clone()],
        ..Config::default()
    };
    let (asker, _) = asker(&config, 1);
    for _ in 0..2 {
        let config =
            Config { listen: vec![path.clone().into()], hello: Some(hello("1")), ..Config::default() };
        let service = service(config, 1);
        until_instances(&asker, 1).await;
        assert_eq!(ask(&asker, "/echo", b"abc", PATIENCE).await, Ok((200, 3)));
        service.stop(|_| async {}).await;
        until_instances(&asker, 0).await;
    }
}

/// A request that is too long must not disconnect an instance for longer than a new dial takes.
#[tokio::test]
async fn a_peer_that_got_a_message_above_its_limit_is_dialled_at_once() {
    let limits = Limits { message_len_max: 4 << 20, ..Limits::default() };
    let config = Config { listen: vec!["tcp://127.0.0.1:0".parse().unwrap()], limits, ..Config::default() };
    let (asker, listening) = asker(&config, 1);
    let config = Config { dial: vec![listening], hello: Some(hello("1")), ..Config::default() };
    let _service = service(config, 1);
    let lost = tokio::time::timeout(PATIENCE, async {
        for _ in 0..5 {
            until_instances(&asker, 1).await;
            let long = ask(&asker, "/echo", &[7; 2 << 20], PATIENCE).await;
            assert!(long.is_err(), "{long:?}");
        }
    });
    lost.await.expect("it keeps dialling");
}

/// This is what a proxy does while its service is starting. If the peer counted as foreign, the
/// attempts would take longer than [`PATIENCE`].
#[tokio::test]
async fn a_peer_that_closes_before_its_opening_is_dialled_as_often_as_an_absent_one() {
    let proxy = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = Config {
        listen: vec!["inproc://unused2".parse().unwrap()],
        dial: vec![format!("tcp://{}", proxy.local_addr().unwrap()).parse().unwrap()],
        ..Config::default()
    };
    let (_asker, _) = asker(&config, 1);
    let tries = async {
        for _ in 0..7 {
            drop(proxy.accept().await.unwrap());
        }
    };
    tokio::time::timeout(PATIENCE, tries).await.expect("the bus keeps dialling");
}

#[tokio::test]
async fn a_peer_that_dialled_in_once_serves_every_worker() {
    let config = Config { listen: vec!["tcp://127.0.0.1:0".parse().unwrap()], ..Config::default() };
    let (asker, listening) = asker(&config, 3);
    let service = service(Config { dial: vec![listening], hello: Some(hello("1")), ..Config::default() }, 1);
    until_instances(&asker, 1).await;
    for path in ["/echo", "/big", "/wait"] {
        for _ in 0..3 {
            let answers = ask_all(&asker, 1, path, b"x", PATIENCE).await;
            assert!(answers.len() == 3 && answers.iter().all(Result::is_ok), "{path}: {answers:?}");
        }
    }
    service.stop(|_| async {}).await;
    until_instances(&asker, 0).await;
}

/// The worker with the connection has nothing to wait for itself.
#[tokio::test]
async fn a_worker_that_has_finished_stays_for_those_that_send_by_its_connection() {
    let config = Config { listen: vec!["tcp://127.0.0.1:0".parse().unwrap()], ..Config::default() };
    let (asker, listening) = asker(&config, 2);
    let _service = service(Config { dial: vec![listening], hello: Some(hello("1")), ..Config::default() }, 1);
    until_instances(&asker, 1).await;
    let (answer, mut answers) = tokio::sync::mpsc::channel(1);
    asker
        .ask(move |bus| {
            if bus.peers().iter().any(|peer| peer.via.is_none()) {
                return;
            }
            let (bus, answer) = (bus.clone(), answer.clone());
            tokio::task::spawn_local(async move {
                let (route, asked) = (bus.route("GET", "/slow").unwrap(), Instant::now());
                let options = Options {
                    asked,
                    deadline: asked + PATIENCE,
                    hold: std::time::Duration::ZERO,
                    flags: Flags::NONE,
                    to: To::Any,
                };
                let reply = bus.request(route, Get("/slow"), Body::new(), options).await;
                answer.send(whole(reply).await).await.expect("the test receives it");
            });
        })
        .await;
    let drained = asker.stop(|bus| async move { bus.drain(Instant::now() + PATIENCE).await }).await;
    assert_eq!((drained, answers.recv().await), (vec![true, true], Some(Ok((201, 0)))));
}

#[test]
fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", taken.local_addr().unwrap());
    let config = Config { listen: vec![url.parse().unwrap()], ..Config::default() };
    let error = bind(&config, 1).unwrap_err().to_string();
    assert!(error.contains(&url), "{error}");
}

#[test]
fn a_stale_socket_file_is_taken_over_and_a_live_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let config = Config { listen: vec![Endpoint::Ipc(path.clone()).into()], ..Config::default() };
    let first = bind(&config, 1).unwrap();
    assert!(bind(&config, 1).is_err(), "the first one listens");
    drop(first);
    assert!(!path.exists(), "a clean end leaves no file");
}
