//! Fairness of the loop: subscribers run before more is read, and a handler that is always ready
//! does not starve other tasks.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bus::{
    Body, Bus, Config, Flags, Head, HeadWriter, Hello, Incoming, Limits, Options, RequestError, Response,
    Serve, Serving, To, bind,
};
use bytes::Bytes;
use role::{Scheduling, worker};
use tokio::sync::{Notify, mpsc};

const PATIENCE: Duration = Duration::from_secs(30);
/// Events of each publisher: many times as many as may wait for a subscriber.
const EVENTS: usize = 20_000;
/// More answers than any test asks for.
const ANSWERS: usize = 2_000;
/// The count is final when the worker reports the same figure this many times in a row.
const QUESTIONS: usize = 100;

struct Get(&'static str);

impl Head for Get {
    fn encode(&self, head: &mut HeadWriter<'_>) {
        head.field(":method", "GET");
        head.field(":path", self.0);
    }
}

/// A handler that yields by waking itself until another task of the worker has run.
struct Spin;
impl Serve for Spin {
    fn serve(&self, _: Incoming) -> Serving {
        let done = Rc::new(Cell::new(false));
        let set = Rc::clone(&done);
        Serving::Later(Box::pin(async move {
            tokio::task::spawn_local(async move {
                tokio::task::yield_now().await;
                set.set(true)
            });
            let began = Instant::now();
            let mut status = 200;
            std::future::poll_fn(|cx| {
                if done.get() {
                    return Poll::Ready(());
                }
                if began.elapsed() > PATIENCE {
                    status = 599;
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
            Response::new(status)
        }))
    }
}

#[tokio::test]
async fn a_handler_that_wakes_itself_does_not_starve_others() {
    let dir = tempfile::tempdir().unwrap();
    let place: bus::Endpoint = format!("ipc://{}", dir.path().join("s").display()).parse().unwrap();
    let mut hello = Hello::new("spin", "1", "1");
    hello.routes = vec!["GET /a".parse().unwrap()];
    let listen = Config { listen: vec![place.clone().into()], ..Config::default() };
    let askers = worker::start("asker", Scheduling::Inherit, bind(&listen, 1).unwrap(), |_, bus| {
        Ok::<_, io::Error>(bus)
    })
    .unwrap();
    let dial = Config { dial: vec![place], hello: Some(hello), ..Config::default() };
    let _service = worker::start("service", Scheduling::Inherit, bind(&dial, 1).unwrap(), |_, bus: Bus| {
        bus.serve(Rc::new(Spin));
        Ok(bus)
    })
    .unwrap();
    until(&askers, |bus| bus.routes().first().is_some_and(|route| route.instances == 1)).await;
    let (tx, mut rx) = tokio::sync::mpsc::channel(1);
    askers
        .ask(move |bus: &Bus| {
            let (bus, tx) = (bus.clone(), tx.clone());
            tokio::task::spawn_local(async move {
                let route = bus.route("GET", "/a").unwrap();
                let asked = Instant::now();
                let options = Options {
                    asked,
                    deadline: asked + 2 * PATIENCE,
                    hold: std::time::Duration::ZERO,
                    flags: Flags::NONE,
                    to: To::Any,
                };
                let reply = bus.request(route, Get("/a"), Body::new(), options).await;
                tx.send(reply.unwrap().status).await.unwrap();
            });
        })
        .await;
    assert_eq!(rx.recv().await, Some(200));
}

/// `/wait` waits for `/go`.
struct Gated(Rc<Notify>);

impl Serve for Gated {
    fn serve(&self, request: Incoming) -> Serving {
        if request.path() == "/go" {
            self.0.notify_waiters();
            return Serving::Now(Response::new(200));
        }
        let gate = Rc::clone(&self.0);
        Serving::Later(Box::pin(async move {
            gate.notified().await;
            Response::new(200)
        }))
    }
}

/// An asker, and a service whose handlers wait, connected.
struct Gate {
    asker: worker::Workers<Bus>,
    service: worker::Workers<Bus>,
    answers: mpsc::Receiver<Result<u16, RequestError>>,
    answer: mpsc::Sender<Result<u16, RequestError>>,
}

impl Gate {
    async fn open(asker: Config, limits: Limits) -> Self {
        let listen = Config { listen: vec!["tcp://127.0.0.1:0".parse().unwrap()], ..asker };
        let seeds = bind(&listen, 1).unwrap();
        let listening = seeds[0].listening()[0].clone();
        let asker =
            worker::start("asker", Scheduling::Inherit, seeds, |_, bus| Ok::<_, io::Error>(bus)).unwrap();
        let mut hello = Hello::new("gate", "1", "1");
        hello.routes = ["GET /wait", "GET /go"].map(|route| route.parse().unwrap()).into();
        let dial = Config { dial: vec![listening], hello: Some(hello), limits, ..Config::default() };
        let service =
            worker::start("service", Scheduling::Inherit, bind(&dial, 1).unwrap(), |_, bus: Bus| {
                bus.serve(Rc::new(Gated(Rc::new(Notify::new()))));
                Ok(bus)
            })
            .unwrap();
        until(&asker, |bus| bus.routes().first().is_some_and(|route| route.instances == 1)).await;
        let (answer, answers) = mpsc::channel(ANSWERS);
        Self { asker, service, answers, answer }
    }

    async fn ask(&self, path: &'static str, count: usize) {
        let answer = self.answer.clone();
        let ask = move |bus: &Bus| {
            for _ in 0..count {
                let (bus, answer) = (bus.clone(), answer.clone());
                tokio::task::spawn_local(async move {
                    let route = bus.route("GET", path).unwrap();
                    let asked = Instant::now();
                    let options = Options {
                        asked,
                        deadline: asked + PATIENCE,
                        hold: std::time::Duration::ZERO,
                        flags: Flags::NONE,
                        to: To::Any,
                    };
                    let reply = bus.request(route, Get(path), Body::new(), options).await;
                    answer.send(reply.map(|reply| reply.status)).await.expect("the test receives it");
                });
            }
        };
        self.asker.ask(ask).await;
    }

    /// Sends `count` requests whose handlers wait, and returns when all of them do.
    async fn wait(&self, count: usize, in_all: usize) {
        self.ask("/wait", count).await;
        until(&self.service, move |bus| bus.in_service() == in_all).await;
    }

    async fn busy_polls(&self) -> u64 {
        let count = |bus: &Bus| bus.counters().iter().find(|(name, _)| *name == "bus.polls.busy").unwrap().1;
        self.asker.ask(count).await[0]
    }
}

#[tokio::test]
async fn more_handlers_woken_at_once_than_a_queue_takes_are_all_answered() {
    const WAITING: usize = 1000;
    let limits = Limits { queue_messages_max: 16, ..Limits::default() };
    let mut gate = Gate::open(Config::default(), limits).await;
    gate.wait(WAITING, WAITING).await;
    gate.ask("/go", 1).await;
    for _ in 0..=WAITING {
        assert_eq!(gate.answers.recv().await, Some(Ok(200)));
    }
}

#[tokio::test]
async fn an_asker_polls_busily_for_a_few_replies_and_then_sleeps() {
    let busy_poll = Duration::from_millis(20);
    let mut gate = Gate::open(Config { busy_poll, ..Config::default() }, Limits::default()).await;
    gate.wait(3, 3).await;
    assert_eq!(gate.busy_polls().await, 0, "three requests are too few for busy polling");
    gate.wait(1, 4).await;
    // A busy-polling worker polls at least once for each of these calls.
    let (mut seen, mut unchanged) = (0, 0);
    while seen == 0 || unchanged < QUESTIONS {
        let polls = gate.busy_polls().await;
        unchanged = if polls == seen { unchanged + 1 } else { 0 };
        seen = polls;
    }
    gate.wait(30, 34).await;
    gate.ask("/go", 1).await;
    for _ in 0..35 {
        assert_eq!(gate.answers.recv().await, Some(Ok(200)));
    }
    let counters = gate.asker.ask(Bus::counters).await.remove(0);
    assert!(counters.contains(&("bus.replies.received", 35)), "{counters:?}");
}

#[tokio::test]
async fn an_asker_does_not_poll_busily_by_default() {
    let mut gate = Gate::open(Config::default(), Limits::default()).await;
    gate.wait(10, 10).await;
    gate.ask("/go", 1).await;
    for _ in 0..11 {
        assert_eq!(gate.answers.recv().await, Some(Ok(200)));
    }
    assert_eq!(gate.busy_polls().await, 0);
}

async fn until(workers: &worker::Workers<Bus>, done: impl Fn(&Bus) -> bool + Clone + Send + 'static) {
    let deadline = Instant::now() + PATIENCE;
    while !workers.ask(done.clone()).await.iter().all(|done| *done) {
        assert!(Instant::now() < deadline, "timed out");
        tokio::task::yield_now().await;
    }
}

/// Every worker of a subscribing process receives everything that `speakers` publish. Returns the
/// dropped events, by worker.
async fn burst(workers: usize, speakers: usize) -> Vec<u64> {
    let listen = Config {
        listen: vec!["tcp://127.0.0.1:0".parse().unwrap()],
        hello: Some(Hello::new("listener", "1", "1")),
        ..Config::default()
    };
    let seeds = bind(&listen, workers).unwrap();
    let listening = seeds[0].listening()[0].clone();
    let hearing =
        worker::start("listener", Scheduling::Inherit, seeds, |_, bus| Ok::<_, io::Error>(bus)).unwrap();
    let (all, mut done) = tokio::sync::mpsc::channel(8);
    hearing
        .ask(move |bus| {
            let (mut events, all) = (bus.subscribe("burst"), all.clone());
            tokio::task::spawn_local(async move {
                for _ in 0..speakers * EVENTS {
                    events.recv().await;
                }
                all.send(()).await.expect("the test receives it");
            });
        })
        .await;
    let dial =
        Config { dial: vec![listening], hello: Some(Hello::new("speaker", "1", "1")), ..Config::default() };
    let speakers: Vec<_> = (0..speakers)
        .map(|_| {
            worker::start("speaker", Scheduling::Inherit, bind(&dial, 1).unwrap(), |_, bus| Ok(bus)).unwrap()
        })
        .collect();
    for speaker in &speakers {
        speaker
            .ask(|bus: &Bus| {
                let bus = bus.clone();
                tokio::task::spawn_local(async move {
                    for at in 0..EVENTS {
                        // No peer has joined yet, or the queue is full.
                        while bus.publish("burst", &[], &Bytes::from(at.to_string())) == 0 {
                            tokio::task::yield_now().await;
                        }
                    }
                });
            })
            .await;
    }
    let heard = async {
        for _ in 0..workers {
            done.recv().await.unwrap();
        }
    };
    let heard = tokio::time::timeout(PATIENCE, heard).await;
    let dropped = |name: &&str| ["bus.events.dropped", "bus.workers.dropped"].contains(name);
    let dropped = hearing
        .ask(move |bus| bus.counters().iter().filter(|(name, _)| dropped(name)).map(|(_, count)| count).sum())
        .await;
    assert!(heard.is_ok(), "dropped: {dropped:?}");
    dropped
}

#[tokio::test]
async fn a_subscriber_that_keeps_up_misses_nothing() {
    for (workers, speakers) in [(1, 1), (1, 2), (1, 4), (2, 1)] {
        assert_eq!(
            burst(workers, speakers).await,
            vec![0; workers],
            "{workers} workers, {speakers} speakers"
        );
    }
}
