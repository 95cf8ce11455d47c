//! Pings, silence, and the barrier at the end of a drain, as described in PROTOCOL.md section 3.

#[path = "fixtures/peer.rs"]
mod peer;

use std::sync::Arc;
use std::time::Instant;

use bus_proto::balancer::Shared;
use bus_proto::node::{Ask, NodeConfig, To};
use bus_proto::pending::Outcome;
use bus_proto::socket::Remote;
use bus_proto::{Envelope, Flags, Framing, Input, Kind, Limits, Node, PipeId, Refused, RequestId};
use bytes::Bytes;
use peer::{Flag, config, epoch, hello, hello_message, ms, plain, written};
use std::task::Poll;

/// An asker with one pipe. Its peer has sent a hello if `knows` is true.
fn asker(knows: bool) -> (Node, PipeId, Instant) {
    let now = epoch();
    let mut node = Node::new(config(1), now);
    let pipe = node.open_pipe(now, Framing::Tcp);
    if knows {
        node.handle_message(now, pipe, hello_message(&hello("s", &["GET /"], &[])));
    }
    written(&mut node, pipe); // Writes the opening: a ping is sent only when the out-queue is empty.
    (node, pipe, now)
}

/// Lets half a second pass without a message from the peer. Returns the pings that were sent.
fn quiet(node: &mut Node, pipe: PipeId, now: &mut Instant) -> Vec<Envelope> {
    *now += ms(500);
    node.handle_timeout(*now);
    let mut sent = written(node, pipe);
    sent.retain(|message| message.header().kind == Kind::Ping);
    sent
}

fn ask(node: &mut Node, now: Instant) -> Result<RequestId, Refused> {
    let route = node.directory.find("GET", "/").expect("claimed");
    let ask = Ask { route, flags: Flags::IDEMPOTENT, deadline: now + ms(60_000), to: To::Any };
    node.request(now, ask, |_| {}, &[]).map(|sent| sent.id)
}

fn pong(ping: &Envelope) -> Bytes {
    let correlation = ping.header().correlation;
    plain(Kind::Pong, correlation.origin.0, correlation.request)
}

#[test]
fn only_peers_that_said_hello_and_are_quiet_are_pinged() {
    let (mut node, pipe, mut now) = asker(false);
    assert!((0..5).all(|_| quiet(&mut node, pipe, &mut now).is_empty()));
    let (mut node, pipe, mut now) = asker(true);
    for _ in 0..5 {
        assert_eq!(quiet(&mut node, pipe, &mut now).len(), 1);
    }
    let ping = quiet(&mut node, pipe, &mut now).remove(0);
    node.handle_message(now, pipe, pong(&ping));
    node.handle_message(now + ms(400), pipe, plain(Kind::Cancel, 9, RequestId(9)));
    assert!(quiet(&mut node, pipe, &mut now).is_empty(), "heard 100 ms ago");
}

/// Otherwise a peer that stops before it was ever quiet would get requests forever.
#[test]
fn a_peer_that_is_never_quiet_is_pinged_until_it_has_answered() {
    let (mut node, pipe, mut now) = asker(true);
    let mut busy = |answer: bool| {
        node.handle_message(now + ms(400), pipe, plain(Kind::Cancel, 9, RequestId(9)));
        let pings = quiet(&mut node, pipe, &mut now);
        if answer {
            node.handle_message(now, pipe, pong(&pings[0]));
        }
        pings.len()
    };
    assert_eq!([busy(false), busy(false), busy(true), busy(false), busy(false)], [1, 1, 1, 0, 0]);
}

#[test]
fn a_ping_is_answered_with_its_own_id() {
    let (mut node, pipe, now) = asker(false);
    node.handle_message(now, pipe, plain(Kind::Ping, 77, RequestId(5)));
    let sent = written(&mut node, pipe);
    assert_eq!(*sent[0].message(), plain(Kind::Pong, 77, RequestId(5)));
    assert_eq!(node.counters.pings_received, 1);
}

#[test]
fn a_peer_that_never_answered_a_ping_is_never_silent() {
    let (mut node, pipe, mut now) = asker(true);
    let id = ask(&mut node, now).unwrap();
    for _ in 0..20 {
        quiet(&mut node, pipe, &mut now);
    }
    assert_eq!(node.counters.peers_silent, 0);
    assert!(node.poll_reply(id, &Flag::raised().waker()).is_pending());
    assert!(ask(&mut node, now).is_ok());
}

#[test]
fn a_peer_that_leaves_two_pings_unanswered_is_silent_until_its_next_message() {
    let (mut node, pipe, mut now) = asker(true);
    let ping = quiet(&mut node, pipe, &mut now).remove(0);
    node.handle_message(now, pipe, pong(&ping));
    let (id, flag) = (ask(&mut node, now).unwrap(), Flag::raised());
    flag.lower();
    assert!(node.poll_reply(id, &flag.waker()).is_pending());
    quiet(&mut node, pipe, &mut now);
    quiet(&mut node, pipe, &mut now);
    assert!(ask(&mut node, now).is_ok(), "two pings are under way");
    assert!(!flag.lower());
    quiet(&mut node, pipe, &mut now);
    assert!(flag.lower());
    let outcome = node.poll_reply(id, &flag.waker());
    assert!(matches!(outcome, Poll::Ready(Outcome::Lost { written: true })), "it may have been served");
    assert_eq!(ask(&mut node, now), Err(Refused::NoInstance));
    assert_eq!((node.counters.peers_silent, node.counters.requests_lost), (1, 2));
    assert!(node.socket.pipe(pipe).is_some_and(|pipe| pipe.load.in_flight == 0));
    node.handle_message(now, pipe, pong(&ping));
    assert!(ask(&mut node, now).is_ok());
}

/// One of two workers has the connection; the other one sends through it as well.
#[test]
fn a_peer_that_is_silent_is_so_for_every_worker() {
    let now = epoch();
    let [mut owner, mut other] =
        [0, 1].map(|worker| Node::new(NodeConfig { worker, workers: 2, ..config(1) }, now));
    let pipe = owner.open_pipe(now, Framing::Tcp);
    let shared = owner.socket.pipe(pipe).unwrap().load.shared.clone().unwrap();
    let stand_in = other.open_remote(now, Framing::Tcp, Remote { worker: 0, pipe }, shared);
    let said = hello_message(&hello("s", &["GET /"], &[]));
    owner.handle_message(now, pipe, said.clone());
    other.handle_message(now, stand_in, said);
    written(&mut owner, pipe);

    let mut later = now;
    let ping = quiet(&mut owner, pipe, &mut later).remove(0);
    owner.handle_message(later, pipe, pong(&ping));
    let id = ask(&mut other, later).unwrap();
    while owner.counters.peers_silent == 0 {
        quiet(&mut owner, pipe, &mut later);
    }
    other.handle_timeout(later);
    let outcome = other.poll_reply(id, &Flag::raised().waker());
    assert!(matches!(outcome, Poll::Ready(Outcome::Lost { written: true })), "{outcome:?}");
    assert_eq!(ask(&mut other, later), Err(Refused::NoInstance));
    assert_eq!((other.counters.peers_silent, other.counters.requests_lost), (0, 1), "counted once");

    owner.handle_message(later, pipe, pong(&ping));
    other.handle_timeout(later + ms(500));
    assert!(ask(&mut other, later).is_ok());
}

/// A worker with its own pipe to an instance, and with a pipe that stands for another worker's
/// connection to an instance of the same name.
fn two_ways(instance: &str) -> (Node, [PipeId; 2], Instant) {
    two_ways_within(instance, Limits::default())
}

fn two_ways_within(instance: &str, limits: Limits) -> (Node, [PipeId; 2], Instant) {
    let now = epoch();
    let mut node = Node::new(NodeConfig { limits, worker: 1, workers: 2, ..config(1) }, now);
    let theirs = PipeId { index: 0, generation: 0 };
    let own = node.open_pipe(now, Framing::Tcp);
    let other = Remote { worker: 0, pipe: theirs };
    let stand_in = node.open_remote(now, Framing::Tcp, other, Arc::new(Shared::new(2)));
    let mut said = hello("s", &["GET /"], &[]);
    instance.clone_into(&mut said.instance);
    for pipe in [own, stand_in] {
        node.handle_message(now, pipe, hello_message(&said));
        written(&mut node, pipe);
    }
    (node, [own, stand_in], now)
}

/// How many of a hundred requests each of the two pipes gets.
fn shares(node: &mut Node, ways: [PipeId; 2], now: Instant) -> [usize; 2] {
    for _ in 0..100 {
        ask(node, now).expect("an instance accepts it");
    }
    ways.map(|pipe| written(node, pipe).iter().filter(|sent| sent.header().kind == Kind::Request).count())
}

#[test]
fn another_workers_connection_is_used_while_the_own_one_takes_no_requests() {
    let (mut node, ways, now) = two_ways("i");
    assert_eq!(shares(&mut node, ways, now), [100, 0]);
    node.handle_message(now, ways[0], plain(Kind::Drain, 0, RequestId(0)));
    assert_eq!(shares(&mut node, ways, now), [0, 100]);
    node.handle_message(now, ways[0], hello_message(&hello("s", &["GET /"], &[])));
    assert_eq!(shares(&mut node, ways, now), [100, 0]);
}

#[test]
fn another_workers_connection_is_used_when_the_own_one_is_at_its_limit() {
    let (mut node, ways, now) = two_ways("i");
    let mut said = hello("s", &["GET /"], &[]);
    said.limit = 1;
    for pipe in ways {
        node.handle_message(now, pipe, hello_message(&said));
    }
    assert!(ask(&mut node, now).is_ok() && ask(&mut node, now).is_ok());
    assert_eq!(ask(&mut node, now), Err(Refused::Busy { instances: 1 }));
    assert!(ways.iter().all(|pipe| written(&mut node, *pipe).len() == 1));
}

/// A request in the other queue would wait until its deadline: a 504 instead of an immediate 503.
#[test]
fn another_workers_connection_is_not_used_when_the_instance_does_not_read() {
    let limits = Limits { queue_messages_max: 10, ..Limits::default() };
    let (mut node, [own, other], now) = two_ways_within("i", limits);
    let asked = (0..10).filter(|_| ask(&mut node, now).is_ok()).count();
    assert_eq!((asked, ask(&mut node, now)), (10, Err(Refused::Busy { instances: 1 })));
    assert_eq!((written(&mut node, own).len(), written(&mut node, other).len()), (10, 0));
}

#[test]
fn a_pipe_without_an_instance_name_is_its_own_instance() {
    let (mut node, ways, now) = two_ways("");
    let [own, other] = shares(&mut node, ways, now);
    assert!(own > 0 && other > 0, "{own} {other}");
}

#[test]
fn a_drain_ends_when_every_peer_has_answered_the_ping_behind_it() {
    let now = epoch();
    let said = hello("s", &["GET /"], &[]);
    let mut node = Node::new(NodeConfig { hello: Some(said), ..config(1) }, now);
    let pipes = [(); 3].map(|()| node.open_pipe(now, Framing::Tcp));
    for pipe in pipes {
        written(&mut node, pipe);
    }
    node.drain();
    let pings = pipes.map(|pipe| {
        let sent = written(&mut node, pipe);
        let kinds: Vec<Kind> = sent.iter().map(|message| message.header().kind).collect();
        assert_eq!(kinds, [Kind::Drain, Kind::Ping]);
        sent[1].clone()
    });
    node.handle_message(now, pipes[0], pong(&pings[0]));
    node.handle_message(now, pipes[1], pong(&pings[0]));
    assert!(!node.drain_was_read(), "another pipe's pong is no answer");
    node.handle_message(now, pipes[1], pong(&pings[1]));
    node.close_pipe(now, pipes[2]);
    assert!(node.drain_was_read(), "a closed pipe is not waited for");
    let late = node.open_pipe(now, Framing::Tcp);
    node.set_hello(hello("s", &["GET /more"], &[]));
    for pipe in [late, pipes[0]] {
        assert!(written(&mut node, pipe).is_empty(), "a draining node sends no hello");
    }
}

#[test]
fn a_draining_peer_gets_nothing_new_until_it_says_hello_again() {
    let (mut node, pipe, now) = asker(true);
    let id = ask(&mut node, now).unwrap();
    assert!(matches!(node.handle_message(now, pipe, plain(Kind::Drain, 0, RequestId(0))), Input::Drain));
    assert_eq!(ask(&mut node, now), Err(Refused::NoInstance));
    assert!(node.poll_reply(id, &Flag::raised().waker()).is_pending(), "what it has, it finishes");
    node.handle_message(now, pipe, hello_message(&hello("s", &["GET /"], &[])));
    assert!(ask(&mut node, now).is_ok());
}

/// A peer that sends pings and never reads: dropped pongs are counted.
#[test]
fn pongs_dropped_at_a_full_queue_are_counted() {
    let now = epoch();
    let limits = Limits { queue_messages_max: 10, ..Limits::default() };
    let mut node = Node::new(NodeConfig { limits, ..config(1) }, now);
    let pipe = node.open_pipe(now, Framing::Tcp);
    for n in 0..25 {
        node.handle_message(now, pipe, plain(Kind::Ping, 9, RequestId(n)));
    }
    assert_eq!((node.counters.pings_received, node.counters.control_dropped), (25, 15));
    assert_eq!(written(&mut node, pipe).len(), 10);
}
