//! A poll at one worker and a message at another. Each worker has its own rooms, pipes and watches,
//! and they share the store alone, like two instances on one FoundationDB cluster. (The embedded
//! store belongs to one process, so two processes cannot be tested on it.)
//!
//! The test plays the terminator: both workers dial it, and its pipes show which of them got a
//! request.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};
use service_host::bus::{self, PeerInfo};
use service_host::testing::stores::Place;
use service_host::testing::{Answer, Peer, Process, run};
use tokio::task::JoinHandle;

service_host::store_tests! {
    on_stores:
        a_message_wakes_the_poll_at_another_instance_by_its_event,
        a_message_wakes_the_poll_at_another_instance_when_its_event_is_lost,
        typing_at_one_instance_is_seen_at_the_other;
}

struct Workers {
    hub: Peer,
    _process: Process,
}

/// `relay_events` is true when events reach the other worker.
async fn start(place: &Place, relay_events: bool) -> Workers {
    let url = place.socket("hub.sock");
    let config = bus::Config { listen: vec![url.parse().unwrap()], relay_events, ..bus::Config::default() };
    let hub = Peer { bus: bus::bind(&config, 1).unwrap().pop().unwrap().start() };
    let args = ["--bus-dial", &url, "--store", place.store(), "--workers", "2"];
    let process = Process::start(env!("CARGO_BIN_EXE_chat"), &args);
    let said_hello = |peer: &PeerInfo| peer.hello.as_ref().is_some_and(|hello| !hello.topics.is_empty());
    hub.until(|bus| bus.peers().iter().filter(|peer| said_hello(peer)).count() == 2).await;
    Workers { hub, _process: process }
}

impl Workers {
    /// Requests that each pipe received.
    fn requests(&self) -> HashMap<u64, u64> {
        self.hub.bus.peers().iter().map(|peer| (peer.pipe, peer.requests)).collect()
    }

    /// The pipe that received one request more than in `before`.
    fn pipe_used_since(&self, before: &HashMap<u64, u64>) -> u64 {
        let now = self.requests();
        *now.iter().find(|(pipe, requests)| before[*pipe] < **requests).unwrap().0
    }

    /// A waiting poll, and its pipe.
    async fn poll(&self, path: &str) -> (JoinHandle<Answer>, u64) {
        let (peer, path, before) = (self.hub.clone(), path.to_owned(), self.requests());
        let poll = tokio::task::spawn_local(async move {
            peer.ask("GET", &path).within(Duration::from_secs(25)).answer().await
        });
        self.hub.until(|bus| bus.outstanding() == 1).await;
        (poll, self.pipe_used_since(&before))
    }

    /// An answer, and the pipe that carried it.
    async fn send(&self, method: &'static str, path: &str, body: Value) -> (Answer, u64) {
        let before = self.requests();
        let answer = self.hub.ask(method, path).body(body.to_string()).answer().await;
        assert!(answer.status < 300, "{}", answer.text());
        (answer, self.pipe_used_since(&before))
    }

    fn events(&self) -> u64 {
        let counters = self.hub.bus.counters();
        counters.into_iter().find(|(name, _)| *name == "bus.events.received").unwrap().1
    }
}

/// Rounds with poll and change on different workers that a test needs; `ROUNDS` is how many it may
/// take.
const CROSSED: usize = 3;
const ROUNDS: usize = 200;

/// Repeats until enough rounds crossed workers: polls, makes a change with `send`, and passes the
/// news to `check`.
async fn cross(
    workers: &Workers,
    send: impl AsyncFn(usize) -> (Answer, u64),
    check: impl Fn(&Value, &Answer),
) {
    let (mut crossed, mut after) = (0, "00000000000000000000".to_owned());
    for round in 0..ROUNDS {
        let (poll, polled_at) = workers.poll(&format!("/chats/c/updates?after={after}")).await;
        let (answer, sent_to) = send(round).await;
        let news = poll.await.unwrap().json();
        check(&news, &answer);
        // Either worker accepts the cursor of the other.
        after = news["next"].as_str().unwrap().to_owned();
        crossed += usize::from(polled_at != sent_to);
        if crossed == CROSSED {
            return;
        }
    }
    panic!("only {crossed} of {ROUNDS} rounds went from one worker to the other");
}

async fn messages(place: &Place, relay_events: bool) -> u64 {
    let workers = start(place, relay_events).await;
    let say = async |round| {
        let body = json!({"id": format!("{round}"), "author": "ada", "text": "x"});
        workers.send("POST", "/chats/c/messages", body).await
    };
    cross(&workers, say, |news, sent| assert_eq!(news["messages"], json!([sent.json()]))).await;
    workers.events()
}

fn a_message_wakes_the_poll_at_another_instance_by_its_event(place: &Place) {
    run(async { assert!(messages(place, true).await >= CROSSED as u64) });
}

fn a_message_wakes_the_poll_at_another_instance_when_its_event_is_lost(place: &Place) {
    run(async {
        messages(place, false).await;
    });
}

fn typing_at_one_instance_is_seen_at_the_other(place: &Place) {
    run(async {
        let workers = start(place, true).await;
        let type_it = async |round| {
            let path = "/chats/c/typing";
            workers.send("PUT", path, json!({"member": format!("m{round:03}")})).await
        };
        let seen = |news: &Value, _: &Answer| {
            let typing = news["typing"].as_array().unwrap();
            assert!(!typing.is_empty() && news["messages"] == json!([]), "{news}");
        };
        cross(&workers, type_it, seen).await;
    });
}
