//! Events: which peers get them, which peers get them relayed, and that relaying ends.

#[path = "fixtures/peer.rs"]
mod peer;

use std::collections::VecDeque;
use std::time::Instant;

use bus_proto::node::NodeConfig;
use bus_proto::{Correlation, Framing, Header, Input, Kind, Node, Origin, PipeId, RequestId};
use bytes::Bytes;
use peer::{config, epoch, hello, hello_message, message, written};

fn event(origin: u64, number: u64, topic: &str) -> Bytes {
    let correlation = Correlation { origin: Origin(origin), request: RequestId(number) };
    let header = Header { correlation, ..Header::new(Kind::Event) };
    message(&header, |head| head.field(":topic", topic), b"body")
}

/// A node with one pipe for each of `peers`. A peer is the topics of its hello, or `None` for no
/// hello.
fn node(relay_events: bool, peers: &[Option<&[&str]>]) -> (Node, Vec<PipeId>, Instant) {
    let now = epoch();
    let mut node = Node::new(NodeConfig { relay_events, ..config(1) }, now);
    let open = |topics: &Option<&[&str]>| {
        let pipe = node.open_pipe(now, Framing::Tcp);
        if let Some(topics) = topics {
            node.handle_message(now, pipe, hello_message(&hello("s", &[], topics)));
        }
        pipe
    };
    let pipes = peers.iter().map(open).collect();
    (node, pipes, now)
}

fn counts(node: &mut Node, pipes: &[PipeId]) -> Vec<usize> {
    pipes.iter().map(|pipe| written(node, *pipe).len()).collect()
}

#[test]
fn publish_reaches_peers_that_name_the_topic_and_peers_without_a_hello() {
    let peers = [Some(&["a"][..]), Some(&["a.b", "b"]), Some(&[]), None];
    let (mut leaf, pipes, _) = node(false, &peers);
    assert_eq!(leaf.publish("a", &[("k", "v")], &Bytes::from_static(b"x")), 2);
    let got: Vec<_> = pipes.iter().map(|pipe| written(&mut leaf, *pipe)).collect();
    assert_eq!(got.iter().map(Vec::len).collect::<Vec<_>>(), [1, 0, 0, 1], "topics match exactly");
    let event = &got[0][0];
    assert_eq!((event.field(":topic"), event.field("k")), (Some(&b"a"[..]), Some(&b"v"[..])));
    assert_ne!(event.header().correlation, got_next(&mut leaf, pipes[0]), "each event has an id of its own");

    let (mut hub, pipes, _) = node(true, &peers);
    assert_eq!(hub.publish("a", &[], &Bytes::new()), 1);
    assert_eq!(
        counts(&mut hub, &pipes),
        [1, 0, 0, 0],
        "a relaying peer sends only to peers that name the topic"
    );
}

fn got_next(node: &mut Node, pipe: PipeId) -> Correlation {
    node.publish("a", &[], &Bytes::new());
    written(node, pipe)[0].header().correlation
}

#[test]
fn a_hub_relays_to_peers_that_name_the_topic_except_the_sender() {
    let (mut hub, pipes, now) = node(true, &[Some(&["a"]), Some(&["a"]), Some(&["b"]), None]);
    let sent = event(7, 1, "a");
    assert!(matches!(hub.handle_message(now, pipes[0], sent.clone()), Input::Event(_)));
    let relayed: Vec<_> = pipes.iter().map(|pipe| written(&mut hub, *pipe)).collect();
    assert_eq!(relayed.iter().map(Vec::len).collect::<Vec<_>>(), [0, 1, 0, 0]);
    assert_eq!(*relayed[1][0].message(), sent, "byte for byte");

    let (mut leaf, pipes, now) = node(false, &[Some(&["a"]), Some(&["a"])]);
    leaf.handle_message(now, pipes[0], sent);
    assert_eq!(counts(&mut leaf, &pipes), [0, 0], "only a hub relays");
}

#[test]
fn a_copy_by_another_pipe_is_dropped_and_the_same_id_by_the_same_pipe_is_not() {
    let (mut hub, pipes, now) = node(true, &[None, None, Some(&["a"])]);
    let mut taken =
        |from: usize, message| matches!(hub.handle_message(now, pipes[from], message), Input::Event(_));
    assert!(taken(0, event(7, 1, "a")));
    assert!(!taken(1, event(7, 1, "a")));
    assert!(taken(0, event(7, 1, "a")), "a guest that reuses ids loses no event");
    assert!(taken(0, event(0, 0, "a")) && taken(1, event(0, 0, "a")), "no id at all");
    assert_eq!(hub.counters.events_duplicate, 1);
    assert_eq!(counts(&mut hub, &pipes), [0, 0, 4]);
}

#[test]
fn an_event_without_a_topic_is_counted_and_dropped() {
    let (mut hub, pipes, now) = node(true, &[None, Some(&[""])]);
    let none = message(&Header::new(Kind::Event), |_| {}, b"");
    let bad = message(&Header::new(Kind::Event), |head| head.field(":topic", [0xFF]), b"");
    for message in [none, bad] {
        assert!(matches!(hub.handle_message(now, pipes[0], message), Input::Done));
    }
    assert_eq!((hub.counters.rejected_topic, hub.counters.events_received), (2, 2));
    assert_eq!(counts(&mut hub, &pipes), [0, 0]);
}

/// Two hubs that want the same topic, joined by two pipes. No event may circulate.
struct Ring {
    hubs: [Node; 2],
    pipes: [[PipeId; 2]; 2],
    delivered: [usize; 2],
}

impl Ring {
    fn new(now: Instant) -> Self {
        let mut hubs =
            [1, 2].map(|origin| Node::new(NodeConfig { relay_events: true, ..config(origin) }, now));
        let pipes = hubs.each_mut().map(|hub| [(); 2].map(|()| hub.open_pipe(now, Framing::Tcp)));
        for (hub, pipes) in hubs.iter_mut().zip(pipes) {
            for pipe in pipes {
                hub.handle_message(now, pipe, hello_message(&hello("hub", &[], &["a"])));
            }
        }
        Self { hubs, pipes, delivered: [0, 0] }
    }

    /// Passes events on until there are none. `most` is far more than two hubs can need.
    fn settle(&mut self, now: Instant, most: usize) {
        let mut moving = VecDeque::new();
        for _ in 0..most {
            for (at, way) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let events = written(&mut self.hubs[at], self.pipes[at][way]);
                moving.extend(events.into_iter().map(|event| (1 - at, way, event.message().clone())));
            }
            let Some((to, way, event)) = moving.pop_front() else { return };
            if let Input::Event(_) = self.hubs[to].handle_message(now, self.pipes[to][way], event) {
                self.delivered[to] += 1;
            }
        }
        panic!("still circling: {:?} delivered", self.delivered);
    }
}

#[test]
fn an_event_of_a_hub_does_not_come_back_to_it() {
    let now = epoch();
    let mut ring = Ring::new(now);
    ring.hubs[0].publish("a", &[], &Bytes::new());
    ring.settle(now, 100);
    assert_eq!(ring.delivered, [0, 1]);
}

#[test]
fn a_guests_event_without_an_id_is_relayed_only_once() {
    let now = epoch();
    let mut ring = Ring::new(now);
    let guest = ring.hubs[0].open_pipe(now, Framing::Tcp);
    for nth in 1..=2 {
        assert!(matches!(ring.hubs[0].handle_message(now, guest, event(0, 0, "a")), Input::Event(_)));
        ring.settle(now, 100);
        assert_eq!(ring.delivered, [0, nth]);
    }
}

#[test]
fn many_events_of_a_guest_are_relayed_only_once_whatever_their_ids() {
    const EVENTS: u64 = 4000;
    let now = epoch();
    let mut rng = fastrand::Rng::with_seed(7);
    let random = (0..EVENTS).map(|_| rng.u64(1..)).collect();
    let steps = [1, 2049, 1 << 33 | 1].map(|step| (1..=EVENTS).map(|n| n * step).collect());
    for ids in steps.into_iter().chain(std::iter::once::<Vec<u64>>(random)) {
        let mut ring = Ring::new(now);
        let guest = ring.hubs[0].open_pipe(now, Framing::Tcp);
        for id in &ids {
            let input = ring.hubs[0].handle_message(now, guest, event(99, *id, "a"));
            assert!(matches!(input, Input::Event(_)));
        }
        ring.settle(now, 10 * ids.len());
        assert_eq!(ring.delivered, [0, ids.len()], "{:?}...", &ids[..2]);
    }
}

/// A short event shares its read buffer with other messages.
#[test]
fn a_subscriber_that_does_not_read_keeps_events_but_not_what_was_read_with_them() {
    for (len, keeps) in [(10, false), (1100, false), (30_000, false), (40_000, true)] {
        let (mut hub, pipes, now) = node(true, &[Some(&["a"]), Some(&["a"])]);
        let correlation = Correlation { origin: Origin(7), request: RequestId(1) };
        let header = Header { correlation, ..Header::new(Kind::Event) };
        let sent = message(&header, |head| head.field(":topic", "a"), &vec![7; len]);
        let read = Bytes::from([&sent[..], &[0; 1000]].concat());
        drop(hub.handle_message(now, pipes[0], read.slice(..sent.len())));
        assert_eq!(read.is_unique(), !keeps, "a body of {len} bytes");
        assert_eq!(*written(&mut hub, pipes[1])[0].message(), sent);
    }
}
