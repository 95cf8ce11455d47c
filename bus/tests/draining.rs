//! What a drain waits for, and what it does not.

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
        assert!(Instant::now() < deadline, "it never happens");
        tokio::task::yield_now().await;
    }
}

/// A peer that wants events and does not read: what is relayed to it waits for ever.
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
            // The hub drops what the sleeper has no room for, and goes on reading; its end ends this.
            while speaker.write_all(&event).is_ok() {}
        });
        until(&hub, |bus| bus.peers().iter().any(|peer| peer.via.is_none() && peer.queued_messages > 100))
            .await;
        let drained = hub.stop(|bus| async move { bus.drain(Instant::now() + PATIENCE).await }).await;
        assert_eq!(drained, vec![true; workers]);
        speaking.join().unwrap();
    }
}

/// One that was accepted then would be cut off when the drain ends, with what it has sent.
#[tokio::test]
async fn nobody_is_accepted_once_a_drain_has_begun() {
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
            assert!(Instant::now() < deadline, "it still listens");
            tokio::task::yield_now().await;
        }
        // Those that were accepted a moment before the drain have closed their end by now.
        while hub.ask(|bus| bus.peers().len()).await.iter().sum::<usize>() != 1 {
            assert!(Instant::now() < deadline, "who was there before stays, and nobody else");
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
    assert_eq!(drained.await, [false], "they are still queued when the time is over");
}
