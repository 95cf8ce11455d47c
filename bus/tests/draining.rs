//! What a drain waits for, and what it does not wait for.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{self, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bus::proto::Header;
use bus::proto::sp::{Framing, OPENING};
use bus::{Bus, Config, Endpoint, HeadWriter, Hello, Kind, bind};
use bytes::{Bytes, BytesMut};
use role::Scheduling;
use role::worker::{self, Workers};

const PATIENCE: Duration = Duration::from_secs(20);

/// A bus that relays events, and the port that it listens on.
fn hub(workers: usize) -> (Workers<Bus>, u16) {
    let listen = vec!["tcp://127.0.0.1:0".parse().unwrap()];
    let config = Config { listen, relay_events: true, ..Config::default() };
    let seeds = bind(&config, workers).unwrap();
    let Endpoint::Tcp { port, .. } = seeds[0].listening()[0] else { panic!("tcp was asked for") };
    (worker::start("hub", Scheduling::Inherit, seeds, |_, bus| Ok::<_, io::Error>(bus)).unwrap(), port)
}

/// The length prefix and the bytes of a message.
fn framed(kind: Kind, head: impl FnOnce(&mut HeadWriter<'_>), body: &[u8]) -> Vec<u8> {
    let mut encoded = BytesMut::new();
    let mut writer = HeadWriter::new(&mut encoded);
    head(&mut writer);
    let head_len = writer.finish().unwrap();
    let header = Header::new(kind).to_bytes(u32::try_from(head_len).unwrap());
    let len = header.len() + head_len + body.len();
    [&Framing::Tcp.prefix(len)[1..], &header, &encoded, body].concat()
}

async fn until(workers: &Workers<Bus>, done: impl Fn(&Bus) -> bool + Clone + Send + 'static) {
    let deadline = Instant::now() + PATIENCE;
    while !workers.ask(done.clone()).await.contains(&true) {
        assert!(Instant::now() < deadline, "timed out");
        tokio::task::yield_now().await;
    }
}

/// A peer that wants events and does not read, so events relayed to it are never written.
async fn join_and_read_nothing(hub: &Workers<Bus>, port: u16) -> TcpStream {
    let mut sleeper = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut hello = Hello::new("sleeper", "1", "1");
    hello.topics.push("news".to_owned());
    sleeper.write_all(&OPENING).unwrap();
    sleeper.write_all(&framed(Kind::Hello, |head| hello.encode(head), b"")).unwrap();
    until(hub, |bus| bus.peers().iter().any(|peer| peer.hello.is_some())).await;
    sleeper
}

#[tokio::test]
async fn a_drain_does_not_wait_for_events_that_are_relayed() {
    for workers in [1, 2] {
        let (hub, port) = hub(workers);
        let _sleeper = join_and_read_nothing(&hub, port).await;
        let mut speaker = TcpStream::connect(("127.0.0.1", port)).unwrap();
        speaker.write_all(&OPENING).unwrap();
        let event = framed(Kind::Event, |head| head.field(":topic", "news"), &[7; 60_000]);
        let speaking = std::thread::spawn(move || {
            // The hub drops events without room and continues to read. The end of the hub ends this
            // loop.
            while speaker.write_all(&event).is_ok() {}
        });
        until(&hub, |bus| bus.peers().iter().any(|peer| peer.via.is_none() && peer.queued_messages > 100))
            .await;
        let drained = hub.stop(|bus| async move { bus.drain(Instant::now() + PATIENCE).await }).await;
        assert_eq!(drained, vec![true; workers]);
        speaking.join().unwrap();
    }
}

/// A peer that is accepted during a drain would be cut off at its end, and its messages lost.
#[tokio::test]
async fn no_connection_is_accepted_once_a_drain_has_begun() {
    for workers in [1, 2] {
        let (hub, port) = hub(workers);
        let first = TcpStream::connect(("127.0.0.1", port)).unwrap();
        until(&hub, |bus| !bus.peers().is_empty()).await;
        hub.ask(|bus| {
            let bus = bus.clone();
            tokio::task::spawn_local(async move { bus.drain(Instant::now() + PATIENCE).await });
        })
        .await;
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_ok() {
            assert!(Instant::now() < deadline, "the port is still open");
            tokio::task::yield_now().await;
        }
        // Connections that were accepted just before the drain have been closed by now.
        while hub.ask(|bus| bus.peers().len()).await.iter().sum::<usize>() != 1 {
            assert!(Instant::now() < deadline, "only the earlier connection stays");
            tokio::task::yield_now().await;
        }
        drop(first);
        hub.stop(|_| async {}).await;
    }
}

#[tokio::test]
async fn a_drain_waits_for_events_of_its_own_process() {
    let (hub, port) = hub(1);
    let _sleeper = join_and_read_nothing(&hub, port).await;
    let publish = |bus: &Bus| {
        while !bus.peers().iter().any(|peer| peer.queued_messages > 100) {
            bus.publish("news", &[], &Bytes::from_static(&[7; 60_000]));
        }
    };
    until(&hub, move |bus| {
        publish(bus);
        true
    })
    .await;
    let drained = hub.stop(|bus| async move { bus.drain(Instant::now() + Duration::from_millis(200)).await });
    assert_eq!(drained.await, [false], "the events are still queued at the deadline");
}
