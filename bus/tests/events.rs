//! Events among the workers of a process: each worker receives each event once, by whichever pipes
//! it comes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bus::{Bus, Config, Hello, bind};
use bytes::Bytes;
use role::Scheduling;
use role::worker::{self, Workers};

const PATIENCE: Duration = Duration::from_secs(30);
const EVENTS: usize = 1_000;
/// The counts are final when all workers report the same figures this many times in a row.
const QUESTIONS: usize = 100;

/// A worker that counts the events it receives.
struct Listener {
    worker: usize,
    bus: Bus,
    heard: Rc<Cell<usize>>,
}

impl Listener {
    fn start(worker: usize, bus: Bus) -> Self {
        let (mut events, heard) = (bus.subscribe("news"), Rc::<Cell<usize>>::default());
        let counting = Rc::clone(&heard);
        tokio::task::spawn_local(async move {
            loop {
                events.recv().await;
                counting.set(counting.get() + 1);
            }
        });
        Self { worker, bus, heard }
    }
}

fn counter(bus: &Bus, name: &str) -> u64 {
    bus.counters().iter().find(|(known, _)| *known == name).unwrap().1
}

/// The number of events each worker has received, once that many have come by the pipes of each
/// worker and have been handled.
async fn heard(listeners: &Workers<Listener>, received: [u64; 2]) -> Vec<usize> {
    let deadline = Instant::now() + PATIENCE;
    let come = |listener: &Listener| counter(&listener.bus, "bus.events.received");
    while listeners.ask(come).await != received {
        assert!(Instant::now() < deadline, "{:?} events have come", listeners.ask(come).await);
    }
    let (mut heard, mut unchanged) = (Vec::new(), 0);
    while unchanged < QUESTIONS {
        let now = listeners.ask(|listener| listener.heard.get()).await;
        unchanged = if now == heard { unchanged + 1 } else { 0 };
        heard = now;
    }
    heard
}

fn publish(bus: &Bus) {
    for at in 0..EVENTS {
        bus.publish("news", &[], &Bytes::from(at.to_string()));
    }
}

#[tokio::test]
async fn workers_that_have_a_pipe_each_hear_an_event_once_and_not_their_own() {
    let listen = Config {
        listen: vec!["tcp://127.0.0.1:0".parse().unwrap()],
        relay_events: true,
        ..Config::default()
    };
    let seeds = bind(&listen, 1).unwrap();
    let dial = vec![seeds[0].listening()[0].clone()];
    let hub = worker::start("hub", Scheduling::Inherit, seeds, |_, bus| Ok::<_, io::Error>(bus)).unwrap();
    let dial = Config { dial, hello: Some(Hello::new("listener", "1", "1")), ..Config::default() };
    let seeds = bind(&dial, 2).unwrap();
    let listeners = worker::start("listener", Scheduling::Inherit, seeds, |worker, bus| {
        Ok::<_, io::Error>(Listener::start(worker, bus))
    })
    .unwrap();
    let deadline = Instant::now() + PATIENCE;
    let subscribed = |bus: &Bus| {
        let peers = bus.peers();
        let wants = |hello: &Hello| hello.topics.iter().any(|topic| topic == "news");
        peers.iter().filter(|peer| peer.hello.as_ref().is_some_and(wants)).count()
    };
    while hub.ask(subscribed).await != [2] {
        assert!(Instant::now() < deadline, "no worker subscribes");
    }
    let each = EVENTS as u64;

    hub.ask(publish).await;
    assert_eq!(heard(&listeners, [each, each]).await, [EVENTS, EVENTS]);

    // The hub relays it to the worker that did not publish it.
    listeners
        .ask(move |listener| {
            if listener.worker == 0 {
                publish(&listener.bus);
            }
        })
        .await;
    assert_eq!(heard(&listeners, [each, 2 * each]).await, [EVENTS, 2 * EVENTS]);
}
