//! Our bus: two workers of one process, each pinned to a core, over a real socket or in the
//! process.
//!
//! Owns a publisher and a subscriber, and an asker and a replier. Invariant: uses only the public
//! API of the crate `bus`.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bus::{Body, Bus, Config, Endpoint, Flags, Head, HeadWriter, Hello, Incoming, Response, Serve, Serving};
use bytes::Bytes;
use role::Scheduling;
use role::worker::{self, Workers};
use tokio::task::{spawn_local, yield_now};

use super::endpoints;
use super::pair::{Pair, Pattern};
use crate::figures::float;
use crate::peers::ground::Ground;
use crate::process::pin;

const TOPIC: &str = "bench";
/// Messages published between two looks at the sockets: about as many bytes of 200-byte messages as
/// the raw loop writes at once.
const BURST: usize = 256;
/// Outstanding requests.
const WINDOW: usize = 256;
const PATIENCE: Duration = Duration::from_secs(10);

/// One side: its bus, and its count.
struct Side {
    bus: Bus,
    count: Rc<Cell<u64>>,
}

struct Ask;

impl Head for Ask {
    fn encode(&self, head: &mut HeadWriter<'_>) {
        head.field(":method", "POST");
        head.field(":path", "/bench");
    }
}

struct Echo;

impl Serve for Echo {
    fn serve(&self, request: Incoming) -> Serving {
        Serving::Now(Response::new(200).body(request.envelope.body()))
    }
}

/// Messages per second that arrived at the subscriber or asker, and messages that were read but
/// dropped before it.
pub(super) async fn measure(pair: &Pair, ground: &Ground) -> Result<(f64, f64)> {
    let url: Endpoint = endpoints::url(pair.transport, ground)?.parse()?;
    let mut hello = Hello::new("bench", "1", "1");
    if pair.pattern == Pattern::Ask {
        hello.routes = vec!["POST /bench".parse()?];
    }
    let config = Config { listen: vec![url.clone().into()], hello: Some(hello), ..Config::default() };
    let (pattern, [first, second]) = (pair.pattern, pair.cores);
    let taking = worker::start("take", Scheduling::Inherit, bus::bind(&config, 1)?, move |_, bus| {
        pin(second)?;
        let count = Rc::new(Cell::new(0));
        match pattern {
            Pattern::OneWay => drop(spawn_local(receive(bus.clone(), Rc::clone(&count)))),
            Pattern::Ask => bus.serve(Rc::new(Echo)),
        }
        Ok(Side { bus, count })
    })?;
    let body = Bytes::from(vec![b'x'; pair.size]);
    let config = Config { dial: vec![url], ..Config::default() };
    let giving = worker::start("give", Scheduling::Inherit, bus::bind(&config, 1)?, move |_, bus| {
        pin(first)?;
        let count = Rc::new(Cell::new(0));
        let body = body.clone();
        match pattern {
            Pattern::OneWay => drop(spawn_local(publish(bus.clone(), body))),
            Pattern::Ask => {
                (0..WINDOW)
                    .for_each(|_| drop(spawn_local(ask(bus.clone(), body.clone(), Rc::clone(&count)))));
            }
        }
        Ok(Side { bus, count })
    })?;
    let counting = if pattern == Pattern::OneWay { &taking } else { &giving };
    let rate = rate(counting, pair.time()).await;
    giving.stop(|_| async {}).await;
    taking.stop(|_| async {}).await;
    rate
}

async fn rate(side: &Workers<Side>, time: Duration) -> Result<(f64, f64)> {
    let begun = Instant::now();
    while count(side).await?.0 == 0 {
        ensure!(begun.elapsed() < PATIENCE, "no message arrived in {} s", PATIENCE.as_secs());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(time / 10).await;
    let (start, before) = (Instant::now(), count(side).await?);
    tokio::time::sleep(time).await;
    let (after, seconds) = (count(side).await?, start.elapsed().as_secs_f64());
    Ok((float(after.0 - before.0) / seconds, float(after.1 - before.1) / seconds))
}

/// Messages that arrived, and messages that were dropped.
async fn count(side: &Workers<Side>) -> Result<(u64, u64)> {
    let counts = side
        .ask(|side| {
            let counters = side.bus.counters();
            let dropped = counters.iter().find(|(name, _)| *name == "bus.events.dropped");
            (side.count.get(), dropped.map_or(0, |(_, dropped)| *dropped))
        })
        .await;
    counts.first().copied().context("the worker has ended")
}

async fn publish(bus: Bus, body: Bytes) {
    loop {
        for _ in 0..BURST {
            // No peer yet, or a full queue: let the reader run.
            if bus.publish(TOPIC, &[], &body) == 0 {
                break;
            }
        }
        yield_now().await;
    }
}

async fn receive(bus: Bus, count: Rc<Cell<u64>>) {
    let mut events = bus.subscribe(TOPIC);
    loop {
        events.recv().await;
        count.set(count.get() + 1);
    }
}

async fn ask(bus: Bus, body: Bytes, count: Rc<Cell<u64>>) {
    loop {
        let Some(route) = bus.route("POST", "/bench") else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let asked = Instant::now();
        let options = bus::Options {
            asked,
            deadline: asked + PATIENCE,
            hold: std::time::Duration::ZERO,
            flags: Flags::NONE,
            to: bus::To::Any,
        };
        let body: Body = std::iter::once(body.clone()).collect();
        match bus.request(route, Ask, body, options).await {
            Ok(_) => count.set(count.get() + 1),
            Err(_) => yield_now().await,
        }
    }
}
