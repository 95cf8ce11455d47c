//! What a hostile peer on a real socket must not achieve.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bus::proto::Header;
use bus::proto::sp::{Framing, OPENING};
use bus::{Bus, Claims, Config, Endpoint, HeadWriter, Hello, Kind, Listen, bind};
use bytes::BytesMut;
use role::Scheduling;
use role::worker::{self, Workers};

const PATIENCE: Duration = Duration::from_secs(20);

fn flood_hello(routes: usize) -> Vec<u8> {
    let mut hello = Hello::new("flood", "1", "1");
    hello.routes = (0..routes).map(|n| format!("GET /flood/{n}").parse().unwrap()).collect();
    framed_hello(&hello)
}

fn framed_hello(hello: &Hello) -> Vec<u8> {
    let mut head = BytesMut::new();
    let mut writer = HeadWriter::new(&mut head);
    hello.encode(&mut writer);
    let head_len = writer.finish().unwrap();
    let header = Header::new(Kind::Hello).to_bytes(u32::try_from(head_len).unwrap());
    [&Framing::Tcp.prefix(header.len() + head_len)[1..], &header, &head].concat()
}

fn counter(counters: &[(&'static str, u64)], name: &str) -> u64 {
    counters.iter().find(|(known, _)| *known == name).unwrap().1
}

async fn counters(asker: &Workers<Bus>) -> Vec<(&'static str, u64)> {
    asker.ask(Bus::counters).await.remove(0)
}

/// A peer that sends hellos without end is read more slowly, and the worker serves everything else.
#[tokio::test]
async fn hellos_without_end_slow_down_their_own_pipe_only() {
    let (asker, port) = listening(Config::default(), 1);
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let flood = std::thread::spawn(move || {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
        socket.write_all(&OPENING).unwrap();
        let hellos = flood_hello(200).repeat(20);
        while !stopped.load(Ordering::Relaxed) {
            match socket.write_all(&hellos) {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                other => other.unwrap(),
            }
        }
    });
    let deadline = Instant::now() + Duration::from_secs(20);
    // Each call of `ask` takes one turn of the worker's loop, and is answered during the flood.
    while counter(&counters(&asker).await, "bus.hellos.slowed") < 3 {
        assert!(Instant::now() < deadline, "{:?}", counters(&asker).await);
    }
    let known = asker.ask(|bus| bus.route("GET", "/flood/199").is_some()).await;
    assert_eq!(known, [true], "the hellos that were read count");
    stop.store(true, Ordering::Relaxed);
    flood.join().unwrap();
    asker.stop(|_| async {}).await;
}

/// A bus that listens on a port with the rules `claims`.
fn listening(config: Config, workers: usize) -> (Workers<Bus>, u16) {
    listening_for(config, workers, Claims::default())
}

fn listening_for(config: Config, workers: usize, claims: Claims) -> (Workers<Bus>, u16) {
    let listen = Listen { claims, ..Listen::from("tcp://127.0.0.1:0".parse::<Endpoint>().unwrap()) };
    let seeds = bind(&Config { listen: vec![listen], ..config }, workers).unwrap();
    let Endpoint::Tcp { port, .. } = seeds[0].listening()[0] else { panic!("tcp was asked for") };
    (worker::start("asker", Scheduling::Inherit, seeds, |_, bus| Ok(bus)).unwrap(), port)
}

/// A peer that opens its pipe and sends `hello`, if there is one.
fn join(port: u16, hello: Option<&Hello>) -> TcpStream {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(&OPENING).unwrap();
    if let Some(hello) = hello {
        socket.write_all(&framed_hello(hello)).unwrap();
    }
    socket
}

fn service(name: &str, routes: &[&str]) -> Hello {
    let mut hello = Hello::new(name, "1", "1");
    hello.routes = routes.iter().map(|route| route.parse().unwrap()).collect();
    hello
}

/// True when the bus has closed the connection.
fn is_closed(mut socket: &TcpStream) -> bool {
    let mut buffer = [0; 64];
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return false;
            }
            Err(_) => return true,
        }
    }
}

async fn until(workers: &Workers<Bus>, done: impl Fn(&Bus) -> bool + Clone + Send + 'static) {
    let deadline = Instant::now() + PATIENCE;
    while !workers.ask(done.clone()).await.contains(&true) {
        assert!(Instant::now() < deadline, "timed out");
        tokio::task::yield_now().await;
    }
}

fn holder(bus: &Bus, pattern: &str) -> Option<String> {
    bus.routes().into_iter().find(|route| route.pattern == pattern).map(|route| route.service)
}

#[tokio::test]
async fn a_connection_without_messages_is_closed_to_make_room() {
    let (asker, port) = listening(Config { pipes_max: Some(8), ..Config::default() }, 1);
    let silent: Vec<_> = (0..8).map(|_| join(port, None)).collect();
    until(&asker, |bus| bus.peers().len() == 8).await;
    let _service = join(port, Some(&service("honest", &["GET /a"])));
    until(&asker, |bus| holder(bus, "GET /a").is_some()).await;
    assert!(is_closed(&silent[0]), "the oldest connection is closed");
    until(&asker, |bus| bus.peers().len() == 8).await;
    let counters = counters(&asker).await;
    assert_eq!((counter(&counters, "bus.pipes.evicted"), counter(&counters, "bus.pipes.refused")), (1, 0));
}

/// While places are left no connection is closed: a stock peer that only receives events never
/// sends a message.
#[tokio::test]
async fn peers_that_sent_a_message_keep_their_places_and_a_new_one_is_refused() {
    let (asker, port) = listening(Config { pipes_max: Some(3), ..Config::default() }, 1);
    let _peers: Vec<_> = ["a", "b", "c"].map(|name| join(port, Some(&service(name, &[])))).into();
    until(&asker, |bus| bus.peers().iter().filter(|peer| peer.hello.is_some()).count() == 3).await;
    let late = TcpStream::connect(("127.0.0.1", port)).unwrap();
    late.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(is_closed(&late));
    let counters = counters(&asker).await;
    assert_eq!((counter(&counters, "bus.pipes.evicted"), counter(&counters, "bus.pipes.refused")), (0, 1));
}

#[tokio::test]
async fn a_claim_that_the_listener_does_not_allow_is_refused_by_every_worker() {
    let claims = Claims::new(vec!["guest=GET /guest/{name}".parse().unwrap()]);
    let (asker, port) = listening_for(Config::default(), 2, claims);
    let routes = ["GET /guest/{name}", "GET /profiles/1", "GET /guest/{*rest}"];
    let _guest = join(port, Some(&service("guest", &routes)));
    let _rogue = join(port, Some(&service("profile", &["GET /profiles/{id}"])));
    let known = |bus: &Bus| bus.peers().iter().filter(|peer| peer.hello.is_some()).count();
    let deadline = Instant::now() + PATIENCE;
    while asker.ask(known).await != [2, 2] {
        assert!(Instant::now() < deadline, "a worker did not get the hello");
    }
    let seen = asker.ask(|bus| (bus.routes().len(), holder(bus, "GET /guest/{name}"))).await;
    assert_eq!(seen, vec![(1, Some("guest".to_owned())); 2]);
    let forbidden = asker.ask(Bus::counters).await;
    let forbidden: u64 = forbidden.iter().map(|all| counter(all, "bus.claims.forbidden")).sum();
    assert_eq!(forbidden, 3, "each is counted once");
}

#[tokio::test]
async fn a_sockets_file_has_the_mode_and_owner_that_were_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sock");
    let own = std::fs::metadata(dir.path()).unwrap();
    let text = format!("ipc://{}?mode=0620&user={}&group={}", path.display(), own.uid(), own.gid());
    let config = Config { listen: vec![text.parse().unwrap()], ..Config::default() };
    let seeds = bind(&config, 1).unwrap();
    assert_eq!(seeds[0].listening(), [Endpoint::Ipc(path.clone())]);
    let file = std::fs::metadata(&path).unwrap();
    assert_eq!((file.mode() & 0o777, file.uid(), file.gid()), (0o620, own.uid(), own.gid()));
    std::os::unix::net::UnixStream::connect(&path).unwrap();
}

#[test]
fn a_file_that_is_not_a_socket_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("precious");
    std::fs::write(&path, "precious").unwrap();
    let config = Config { listen: vec![Endpoint::Ipc(path.clone()).into()], ..Config::default() };
    let error = bind(&config, 1).unwrap_err();
    assert!(error.to_string().contains("precious"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}
