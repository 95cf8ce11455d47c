//! What a peer on a real socket must not be able to do.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bus::proto::Header;
use bus::proto::sp::{Framing, OPENING};
use bus::worker::{self, Workers};
use bus::{Bus, Config, Endpoint, HeadWriter, Hello, Kind, bind};
use bytes::BytesMut;

fn framed_hello(routes: usize) -> Vec<u8> {
    let mut hello = Hello::new("flood", "1", "1");
    hello.routes = (0..routes).map(|n| format!("GET /flood/{n}").parse().unwrap()).collect();
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

/// One socket that says hello without end is read more slowly, and the worker goes on with everything else.
#[tokio::test]
async fn hellos_without_end_slow_down_their_own_pipe_only() {
    let config = Config { listen: vec!["tcp://127.0.0.1:0".parse().unwrap()], ..Config::default() };
    let seeds = bind(&config, 1).unwrap();
    let Endpoint::Tcp { port, .. } = seeds[0].listening()[0] else { panic!("tcp was asked for") };
    let asker = worker::start("asker", seeds, |_, bus| Ok(bus)).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let flood = std::thread::spawn(move || {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
        socket.write_all(&OPENING).unwrap();
        let hellos = framed_hello(200).repeat(20);
        while !stopped.load(Ordering::Relaxed) {
            match socket.write_all(&hellos) {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                other => other.unwrap(),
            }
        }
    });
    let deadline = Instant::now() + Duration::from_secs(20);
    // Each question is one turn of the worker's loop: it is answered while the flood goes on.
    while counter(&counters(&asker).await, "bus.hellos.slowed") < 3 {
        assert!(Instant::now() < deadline, "{:?}", counters(&asker).await);
    }
    let known = asker.ask(|bus| bus.route("GET", "/flood/199").is_some()).await;
    assert_eq!(known, [true], "what was read of it counts");
    stop.store(true, Ordering::Relaxed);
    flood.join().unwrap();
    asker.stop(|_| async {}).await;
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("precious");
    std::fs::write(&path, "precious").unwrap();
    let config = Config { listen: vec![Endpoint::Ipc(path.clone())], ..Config::default() };
    let error = bind(&config, 1).unwrap_err();
    assert!(error.to_string().contains("precious"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}
