//! Requests that want a version of their service, and copies.

#[path = "fixtures/peer.rs"]
mod peer;

use std::collections::BTreeMap;
use std::time::Instant;

use bus_proto::node::{Ask, Sent, To};
use bus_proto::{Flags, Framing, Kind, Node, PipeId, Refused, RequestId, VersionId};
use peer::{config, epoch, hello, hello_message, ms, plain, reply, written};

/// An asker, and its pipes to the instances of one service: version and name of each.
struct Asker {
    node: Node,
    now: Instant,
    pipes: Vec<(PipeId, &'static str, String)>,
}

impl Asker {
    fn new() -> Self {
        let now = epoch();
        Self { node: Node::new(config(1), now), now, pipes: Vec::new() }
    }

    fn join(&mut self, version: &'static str, instance: &str) -> PipeId {
        self.join_with(version, instance, 0)
    }

    fn join_with(&mut self, version: &'static str, instance: &str, limit: u32) -> PipeId {
        let pipe = self.node.open_pipe(self.now, Framing::Tcp);
        self.said(pipe, version, instance, limit);
        self.pipes.push((pipe, version, instance.to_owned()));
        pipe
    }

    fn said(&mut self, pipe: PipeId, version: &str, instance: &str, limit: u32) {
        let mut said = hello("s", &["GET /"], &[]);
        (said.version, said.instance, said.limit) = (version.to_owned(), instance.to_owned(), limit);
        self.node.handle_message(self.now, pipe, hello_message(&said));
    }

    fn ask(&mut self, to: To, flags: Flags) -> Result<Sent, Refused> {
        let route = self.node.directory.find("GET", "/").expect("claimed");
        let ask = Ask { route, flags, deadline: self.now + ms(60_000), to };
        self.node.request(self.now, ask, |_| {}, &[])
    }

    /// Answers everything that was sent, a millisecond later.
    fn answer(&mut self) {
        self.now += ms(1);
        for (pipe, ..) in self.pipes.clone() {
            for sent in written(&mut self.node, pipe) {
                if sent.header().kind == Kind::Request {
                    let answer = reply(1, sent.header().correlation.request, false, b"");
                    self.node.handle_message(self.now, pipe, answer);
                }
            }
        }
    }

    /// How many of `count` requests each instance gets, when they are sent eight at a time.
    fn shares(&mut self, count: usize, to: impl Fn(usize) -> To) -> BTreeMap<String, usize> {
        let mut got = BTreeMap::new();
        for n in 0..count {
            let sent = self.ask(to(n), Flags::NONE).expect("an instance accepts it");
            let (_, version, name) = self.pipes.iter().find(|(pipe, ..)| *pipe == sent.pipe).expect("known");
            assert_eq!(sent.version, VersionId::of(version));
            *got.entry(name.clone()).or_default() += 1;
            if n % 8 == 7 {
                self.answer();
            }
        }
        got
    }

    fn drain(&mut self, pipe: PipeId) {
        self.node.handle_message(self.now, pipe, plain(Kind::Drain, 0, RequestId(0)));
    }
}

fn prefer(version: &str) -> To {
    To::Prefer(VersionId::of(version))
}

fn only(version: &str) -> To {
    To::Only(VersionId::of(version))
}

#[test]
fn requests_that_want_no_version_go_to_every_instance() {
    let mut asker = Asker::new();
    asker.join("1", "a");
    asker.join("2", "b");
    let got = asker.shares(1000, |_| To::Any);
    assert!(got["a"].abs_diff(500) <= 30, "{got:?}");
}

#[test]
fn a_candidate_that_joins_gets_nothing_from_requests_pinned_to_stable() {
    let mut asker = Asker::new();
    asker.join("1", "a");
    asker.shares(100, |_| prefer("1"));
    asker.join("2", "candidate");
    asker.join("3", "third");
    let got = asker.shares(1000, |_| prefer("1"));
    assert_eq!(got, BTreeMap::from([("a".to_owned(), 1000)]));
    assert_eq!(asker.node.counters.pins_missed, 0);
}

/// The instances of a version with a small share of the requests lag behind the others in the
/// service's virtual time. They must share their requests nevertheless.
#[test]
fn instances_of_a_version_with_a_small_share_get_equal_parts_of_it() {
    for candidates in [2, 3, 5] {
        let mut asker = Asker::new();
        for n in 0..6 {
            asker.join("1", &format!("stable-{n}"));
        }
        for n in 0..candidates {
            asker.join("2", &format!("candidate-{n}"));
        }
        let got = asker.shares(20_000, |n| prefer(if n % 100 < 5 { "2" } else { "1" }));
        assert_eq!(got.len(), 6 + candidates, "{got:?}");
        for (name, got) in got {
            let fair = if name.starts_with("stable") { 19_000 / 6 } else { 1000 / candidates };
            assert!(got.abs_diff(fair) <= fair / 5, "{name} of {candidates}: {got}, not {fair}");
        }
    }
}

#[test]
fn weights_hold_among_the_instances_of_a_version() {
    let mut asker = Asker::new();
    asker.join("1", "stable");
    let light = asker.join("2", "light");
    asker.join("2", "full");
    let mut said = hello("s", &["GET /"], &[]);
    (said.version, said.instance, said.weight) = ("2".to_owned(), "light".to_owned(), 25);
    asker.node.handle_message(asker.now, light, hello_message(&said));
    let got = asker.shares(4000, |n| prefer(if n % 4 == 0 { "2" } else { "1" }));
    assert!(got["light"].abs_diff(200) <= 40, "{got:?}");
}

/// After the rollout the new version is stable, and the last instance of the old one has had few
/// requests: it must not get all of them until it has caught up.
#[test]
fn shares_are_fair_at_once_when_a_rollout_ends() {
    let mut asker = Asker::new();
    asker.join("1", "old");
    asker.join("2", "new");
    asker.shares(10_000, |_| prefer("2"));
    let got = asker.shares(1000, |_| To::Any);
    assert!(got["old"].abs_diff(500) <= 100, "{got:?}");
}

#[test]
fn a_pin_without_an_instance_that_can_take_it_falls_back_and_is_counted() {
    let mut asker = Asker::new();
    asker.join("1", "a");
    let b = asker.join("2", "b");
    asker.ask(prefer("2"), Flags::NONE).expect("to b");
    assert_eq!(asker.node.counters.pins_missed, 0);
    asker.drain(b);
    assert_eq!(asker.shares(10, |_| prefer("2")), BTreeMap::from([("a".to_owned(), 10)]));
    assert_eq!(asker.node.counters.pins_missed, 10);
    asker.node.close_pipe(asker.now, b);
    assert_eq!(asker.shares(10, |_| prefer("2")), BTreeMap::from([("a".to_owned(), 10)]));
    assert_eq!(asker.node.counters.pins_missed, 20);
    assert_eq!(asker.ask(only("2"), Flags::NONE).err(), Some(Refused::NoInstance));
}

#[test]
fn a_pin_to_a_version_at_its_limit_falls_back() {
    let mut asker = Asker::new();
    let a = asker.join("1", "a");
    let b = asker.join_with("2", "b", 1);
    assert_eq!(asker.ask(prefer("2"), Flags::NONE).expect("a place").pipe, b);
    assert_eq!(asker.ask(prefer("2"), Flags::NONE).expect("a place").pipe, a);
    assert_eq!(asker.node.counters.pins_missed, 1);
    assert_eq!(asker.ask(only("2"), Flags::NONE).err(), Some(Refused::Busy { instances: 1 }));
}

#[test]
fn nobody_is_left_for_a_pin_when_no_instance_is() {
    let mut asker = Asker::new();
    let a = asker.join("1", "a");
    asker.node.close_pipe(asker.now, a);
    assert_eq!(asker.ask(prefer("2"), Flags::NONE).err(), Some(Refused::NoInstance));
    assert_eq!(asker.node.counters.pins_missed, 0, "it was not sent");
}

#[test]
fn an_instance_that_says_another_version_changes_its_group() {
    let mut asker = Asker::new();
    let a = asker.join("1", "a");
    asker.join("1", "b");
    asker.said(a, "2", "a", 0);
    for _ in 0..10 {
        assert_eq!(asker.ask(only("2"), Flags::NONE).expect("a").pipe, a);
        assert_ne!(asker.ask(only("1"), Flags::NONE).expect("b").pipe, a);
    }
}

#[test]
fn a_copy_leaves_half_of_the_limit_to_others() {
    let mut asker = Asker::new();
    asker.join_with("2", "b", 4);
    let copy = |asker: &mut Asker| asker.ask(only("2"), Flags::SHADOW).is_ok();
    assert_eq!([(); 4].map(|()| copy(&mut asker)), [true, true, false, false]);
    assert_eq!((asker.node.counters.shadows_sent, asker.node.counters.shadows_dropped), (2, 2));
    asker.ask(only("2"), Flags::NONE).expect("the other half is free");
    asker.ask(only("2"), Flags::NONE).expect("the other half is free");
    assert!(asker.ask(only("2"), Flags::NONE).is_err());
    asker.answer();
    assert!(copy(&mut asker));
}

/// It is sent sixteen messages at once; a copy must not make a request wait.
#[test]
fn a_copy_to_a_paced_peer_leaves_half_of_its_queue_to_others() {
    let mut asker = Asker::new();
    let pipe = asker.join("2", "b");
    let mut said = hello("s", &["GET /"], &[]);
    said.version = "2".to_owned();
    said.announces_limit = false;
    asker.node.handle_message(asker.now, pipe, hello_message(&said));
    written(&mut asker.node, pipe);
    let sent = (0..20).filter(|_| asker.ask(only("2"), Flags::SHADOW).is_ok()).count();
    assert_eq!(sent, 8);
}

#[test]
fn a_copy_goes_to_another_instance_of_the_same_version() {
    let mut asker = Asker::new();
    asker.join("1", "a");
    asker.join("1", "a");
    let b = asker.join("1", "b");
    asker.join("2", "c");
    let mut seen = Vec::new();
    for _ in 0..50 {
        let original = asker.ask(prefer("1"), Flags::NONE).expect("an instance");
        let copy = asker.ask(To::Beside(original.pipe), Flags::SHADOW).expect("the other one");
        assert!((original.pipe == b) != (copy.pipe == b), "a has two pipes, c another version");
        seen.push(copy.pipe == b);
        asker.answer();
    }
    assert!(seen.contains(&true) && seen.contains(&false));
    asker.node.close_pipe(asker.now, b);
    let original = asker.ask(prefer("1"), Flags::NONE).expect("a");
    let copy = asker.ask(To::Beside(original.pipe), Flags::SHADOW).expect("a is the only one");
    assert_ne!(copy.pipe, b);
    assert!(asker.ask(To::Beside(b), Flags::SHADOW).is_err(), "its pipe is closed");
}

#[test]
fn a_copy_does_not_fall_back_while_another_instance_is_at_its_limit() {
    let mut asker = Asker::new();
    asker.join("1", "a");
    let b = asker.join_with("1", "b", 2);
    let original = loop {
        let sent = asker.ask(To::Any, Flags::NONE).expect("an instance");
        if sent.pipe != b {
            break sent;
        }
        asker.answer();
    };
    assert_eq!(asker.ask(To::Beside(original.pipe), Flags::SHADOW).expect("half of the limit").pipe, b);
    assert!(asker.ask(To::Beside(original.pipe), Flags::SHADOW).is_err(), "the other half is for requests");
}

#[test]
fn an_excepted_version_gets_nothing_even_when_no_other_is_left() {
    let mut asker = Asker::new();
    let a = asker.join("1", "a");
    asker.join("2", "b");
    asker.join("0", "c");
    let except = |_: usize| To::Except(VersionId::of("2"));
    let got = asker.shares(1000, except);
    assert!(!got.contains_key("b") && got["a"].abs_diff(500) <= 100, "{got:?}");
    let c = asker.pipes[2].0;
    for pipe in [a, c] {
        asker.node.close_pipe(asker.now, pipe);
    }
    let refused = asker.ask(To::Except(VersionId::of("2")), Flags::NONE).err();
    assert_eq!((refused, asker.node.counters.pins_missed), (Some(Refused::NoInstance), 0));
    asker.ask(To::Any, Flags::NONE).expect("b is there");
}
