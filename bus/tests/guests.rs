//! Peers whose hello announces no `limit` are sent at most as many messages at once as a stock
//! queue holds.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bus::proto::Header;
use bus::proto::limits::GUEST_QUEUE;
use bus::proto::sp::{Decoder, Framing, OPENING};
use bus::{Body, Bus, Config, Endpoint, Envelope, Flags, Head, HeadWriter, Hello, Kind, Options, To, bind};
use bytes::BytesMut;
use role::Scheduling;
use role::worker::{self, Workers};

const PATIENCE: Duration = Duration::from_secs(20);
/// Requests of each worker.
const REQUESTS: usize = 100;

struct Get;

impl Head for Get {
    fn encode(&self, head: &mut HeadWriter<'_>) {
        head.field(":method", "GET");
        head.field(":path", "/a");
    }
}

fn join(port: u16, announces_limit: bool) -> TcpStream {
    let mut hello = Hello::new("guest", "1", "1");
    hello.announces_limit = announces_limit;
    hello.routes = vec!["GET /a".parse().unwrap()];
    let mut head = BytesMut::new();
    let mut writer = HeadWriter::new(&mut head);
    hello.encode(&mut writer);
    let head_len = writer.finish().unwrap();
    let header = Header::new(Kind::Hello).to_bytes(u32::try_from(head_len).unwrap());
    let framed = [&OPENING, &Framing::Tcp.prefix(header.len() + head_len)[1..], &header, &head].concat();
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(&framed).unwrap();
    socket
}

async fn ask_at_once(asker: &Workers<Bus>) {
    let deadline = Instant::now() + PATIENCE;
    while asker.ask(|bus| bus.route("GET", "/a").is_some()).await.contains(&false) {
        assert!(Instant::now() < deadline, "no peer claims the route");
    }
    asker
        .ask(|bus| {
            for _ in 0..REQUESTS {
                let bus = bus.clone();
                tokio::task::spawn_local(async move {
                    let (route, asked) = (bus.route("GET", "/a").unwrap(), Instant::now());
                    let options = Options {
                        asked,
                        deadline: asked + PATIENCE,
                        hold: std::time::Duration::ZERO,
                        flags: Flags::NONE,
                        to: To::Any,
                    };
                    bus.request(route, Get, Body::new(), options).await
                });
            }
        })
        .await;
}

/// Reads `count` requests as they arrive.
fn read_requests(mut socket: &TcpStream, count: usize) {
    let (mut decoder, mut buffer) = (Decoder::new(Framing::Tcp, 1 << 20), BytesMut::new());
    let (mut seen, mut bytes) = (0, [0; 4096]);
    while seen < count {
        let len = socket.read(&mut bytes).unwrap();
        assert!(len > 0, "the pipe closed after {seen} requests");
        buffer.extend_from_slice(&bytes[..len]);
        while let Some(message) = decoder.decode(&mut buffer).unwrap() {
            seen += usize::from(Envelope::decode(message).unwrap().header().kind == Kind::Request);
        }
    }
}

#[tokio::test]
async fn a_guest_that_announces_no_limit_is_paced_and_gets_everything() {
    for (workers, announces_limit) in [(1, false), (2, false), (1, true), (2, true)] {
        let listen = vec!["tcp://127.0.0.1:0".parse().unwrap()];
        let seeds = bind(&Config { listen, ..Config::default() }, workers).unwrap();
        let Endpoint::Tcp { port, .. } = seeds[0].listening()[0] else { panic!("tcp was asked for") };
        let asker =
            worker::start("asker", Scheduling::Inherit, seeds, |_, bus| Ok::<_, io::Error>(bus)).unwrap();
        let socket = join(port, announces_limit);
        ask_at_once(&asker).await;
        tokio::task::spawn_blocking(move || read_requests(&socket, workers * REQUESTS)).await.unwrap();
        let paced =
            |bus: &Bus| bus.counters().iter().find(|(name, _)| *name == "bus.guests.paced").unwrap().1;
        let paced: u64 = asker.ask(paced).await.into_iter().sum();
        // A pause ends at the latest when half of the queue is free.
        let pauses = u64::try_from((workers * REQUESTS - GUEST_QUEUE) / GUEST_QUEUE).unwrap();
        if announces_limit {
            assert_eq!(paced, 0);
        } else {
            assert!(paced >= pauses.min(1), "{paced} pauses");
        }
    }
}
