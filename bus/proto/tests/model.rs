//! The asking side of a [`Node`] compared with a naive model over random sequences of operations.

#[path = "model/naive.rs"]
mod naive;
#[path = "fixtures/peer.rs"]
mod peer;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::task::Poll;
use std::time::Instant;

use bus_proto::node::{Ask, NodeConfig, To};
use bus_proto::pending::Outcome;
use bus_proto::{Counters, Flags, Framing, Kind, Limits, Node, RequestId, Route};
use naive::{End, Naive, Pipe, State};
use peer::{config, epoch, hello, hello_message, ms, plain, reply, seed_or, written};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};

const ORIGIN: u64 = 0xA11CE;
const PIPES: usize = 3;
const PENDING_MAX: usize = 12;
/// Counters that the two thousand cases must have reached; otherwise they do not cover enough.
const PATHS: [&str; 9] = [
    "bus.requests.refused",
    "bus.requests.expired",
    "bus.requests.lost",
    "bus.requests.cancelled",
    "bus.replies.received",
    "bus.reply.late",
    "bus.reply.wrong_pipe",
    "bus.reply.foreign",
    "bus.peers.silent",
];

#[derive(Clone, Debug)]
enum Op {
    Hello {
        pipe: usize,
        weight: u32,
        limit: u32,
    },
    Request {
        ttl_ms: u64,
    },
    /// A reply to any id used so far, on its own pipe or on another.
    Reply {
        nth: usize,
        by: Option<usize>,
        more: bool,
        len: usize,
    },
    Foreign {
        nth: usize,
        by: usize,
    },
    Poll {
        nth: usize,
    },
    Cancel {
        nth: usize,
    },
    Write {
        pipe: usize,
    },
    Close {
        pipe: usize,
    },
    Drain {
        pipe: usize,
    },
    Pong {
        pipe: usize,
    },
    Advance {
        ms: u64,
    },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let pipe = || 0..PIPES;
    let nth = || 0..64usize;
    let len = prop_oneof![Just(0), Just(10), Just(1 << 19)];
    let op = prop_oneof![
        3 => (pipe(), prop_oneof![Just(0u32), Just(100), Just(100)], 0..4u32)
            .prop_map(|(pipe, weight, limit)| Op::Hello { pipe, weight, limit }),
        12 => (0..60u64).prop_map(|n| Op::Request { ttl_ms: 2 * n + 1 }),
        2 => (2000..4000u64).prop_map(|n| Op::Request { ttl_ms: 2 * n + 1 }),
        10 => (nth(), prop::option::weighted(0.2, pipe()), any::<bool>(), len)
            .prop_map(|(nth, by, more, len)| Op::Reply { nth, by, more, len }),
        1 => (nth(), pipe()).prop_map(|(nth, by)| Op::Foreign { nth, by }),
        12 => nth().prop_map(|nth| Op::Poll { nth }),
        2 => nth().prop_map(|nth| Op::Cancel { nth }),
        2 => pipe().prop_map(|pipe| Op::Write { pipe }),
        1 => pipe().prop_map(|pipe| Op::Close { pipe }),
        1 => pipe().prop_map(|pipe| Op::Drain { pipe }),
        2 => pipe().prop_map(|pipe| Op::Pong { pipe }),
        6 => (0..20u64).prop_map(|n| Op::Advance { ms: 2 * n }),
        2 => (200..400u64).prop_map(|n| Op::Advance { ms: 2 * n }),
    ];
    prop::collection::vec(op, 1..150)
}

/// Deadlines are at odd milliseconds and the clock is at even ones, so a tick of 2 ms never makes
/// the result ambiguous.
struct Pair {
    node: Node,
    naive: Naive,
    now: Instant,
    route: Route,
    /// Every id used so far, and its pipe.
    ever: Vec<(RequestId, bus_proto::PipeId)>,
    live: Vec<RequestId>,
    body: Vec<u8>,
}

impl Pair {
    fn new() -> Self {
        let now = epoch();
        let limits = Limits { pending_max: PENDING_MAX, ..Limits::default() };
        let mut node = Node::new(NodeConfig { limits, ..config(ORIGIN) }, now);
        let pipes = (0..PIPES).map(|_| Pipe::new(node.open_pipe(now, Framing::Tcp), now)).collect();
        let mut naive = Naive::new(pipes, PENDING_MAX, now);
        let said = hello("s", &["GET /"], &[]);
        node.handle_message(now, naive.pipes[0].id, hello_message(&said));
        naive.hello(naive.pipes[0].id, 100, 0, now);
        let route = node.directory.find("GET", "/").expect("claimed");
        Self { node, naive, now, route, ever: Vec::new(), live: Vec::new(), body: vec![b'x'; 1 << 19] }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Hello { pipe, weight, limit } => {
                let mut said = hello("s", &["GET /"], &[]);
                (said.weight, said.limit) = (weight, limit);
                let pipe = self.naive.pipes[pipe].id;
                self.node.handle_message(self.now, pipe, hello_message(&said));
                self.naive.hello(pipe, weight, limit, self.now);
            }
            Op::Request { ttl_ms } => self.request(ttl_ms),
            Op::Reply { nth, by, more, len } => {
                let Some(&(id, asked)) = pick(&self.ever, nth) else { return };
                let by = by.map_or(asked, |by| self.naive.pipes[by].id);
                self.node.handle_message(self.now, by, reply(ORIGIN, id, more, &self.body[..len]));
                self.naive.reply(self.now, by, id, more, len);
            }
            Op::Foreign { nth, by } => {
                let Some(&(id, _)) = pick(&self.ever, nth) else { return };
                let by = self.naive.pipes[by].id;
                self.node.handle_message(self.now, by, reply(ORIGIN + 1, id, false, b"forged"));
                self.naive.foreign_reply(self.now, by);
            }
            Op::Poll { nth } => {
                let Some(&id) = pick(&self.live, nth) else { return };
                self.poll(id);
            }
            Op::Cancel { nth } => {
                let Some(&id) = pick(&self.live, nth) else { return };
                self.node.close_request(id);
                self.naive.cancel(id);
            }
            Op::Write { pipe } => {
                let pipe = self.naive.pipes[pipe].id;
                written(&mut self.node, pipe);
                self.naive.write(pipe);
            }
            Op::Close { pipe } => {
                self.node.close_pipe(self.now, self.naive.pipes[pipe].id);
                let successor = Pipe::new(self.node.open_pipe(self.now, Framing::Tcp), self.now);
                self.naive.close_pipe(pipe, successor);
            }
            Op::Drain { pipe } => {
                let pipe = self.naive.pipes[pipe].id;
                self.node.handle_message(self.now, pipe, plain(Kind::Drain, 0, RequestId(0)));
                self.naive.drain(pipe, self.now);
            }
            Op::Pong { pipe } => {
                let pipe = self.naive.pipes[pipe].id;
                self.node.handle_message(self.now, pipe, plain(Kind::Pong, ORIGIN, RequestId(0)));
                self.naive.pong(pipe, self.now);
            }
            Op::Advance { ms: by } => {
                self.now += ms(by);
                self.node.handle_timeout(self.now);
                self.naive.advance(self.now);
            }
        }
        self.live.retain(|id| self.naive.requests.contains_key(id));
    }

    fn request(&mut self, ttl_ms: u64) {
        let deadline = self.now + ms(ttl_ms);
        let ask = Ask { route: self.route, flags: Flags::NONE, deadline, to: To::Any };
        let sent = self.node.request(self.now, ask, |head| head.field(":path", "/"), &[]);
        let sent = sent.map(|sent| (sent.id, sent.pipe));
        self.naive.request(self.now, deadline, sent);
        if let Ok((id, pipe)) = sent {
            assert!(self.ever.iter().all(|(other, _)| *other != id), "ids are never reused");
            self.ever.push((id, pipe));
            self.live.push(id);
        }
    }

    /// Polls as a client does: for the reply, then for its parts, until there are no more.
    fn poll(&mut self, id: RequestId) {
        let request = self.naive.requests.get_mut(&id).expect("live");
        let waker = request.flag.waker();
        let streams_on = match &mut request.state {
            State::Streaming { first, .. } => {
                let first = first.take();
                if let Some(len) = first {
                    assert_eq!(ended(self.node.poll_reply(id, &waker)), Some(End::Reply { len }));
                    return;
                }
                true
            }
            State::Ended(end) => {
                assert_eq!(ended(self.node.poll_reply(id, &waker)), Some(*end));
                self.naive.requests.remove(&id);
                return;
            }
            State::Waiting => {
                assert_eq!(ended(self.node.poll_reply(id, &waker)), None);
                false
            }
        };
        if streams_on && let State::Streaming { waiting, bytes, ended, .. } = &mut request.state {
            let part =
                self.node.poll_part(id, &waker).map(|part| part.map(|part| part.map(|part| part.len())));
            if let Some(len) = waiting.pop_front() {
                *bytes -= len + bus_proto::limits::PART_COST;
                assert_eq!(part, Poll::Ready(Some(Ok(len))));
                return;
            }
            if let Some(ended) = *ended {
                let complete = ended == bus_proto::pending::PartsEnd::Complete;
                assert_eq!(part, Poll::Ready((!complete).then_some(Err(ended))));
                self.node.close_request(id);
                self.naive.requests.remove(&id);
                return;
            }
            assert_eq!(part, Poll::Pending);
        }
        request.parked = true;
    }

    /// Checks that everything visible of the node agrees with the model.
    fn agree(&mut self) {
        let Naive { requests, pipes, counters, .. } = &mut self.naive;
        let ours = counters.clone();
        let theirs = &self.node.counters;
        let other = Counters {
            requests_sent: ours.requests_sent,
            requests_refused: ours.requests_refused,
            requests_expired: ours.requests_expired,
            requests_lost: ours.requests_lost,
            requests_cancelled: ours.requests_cancelled,
            replies_received: ours.replies_received,
            reply_late: ours.reply_late,
            reply_wrong_pipe: ours.reply_wrong_pipe,
            reply_foreign: ours.reply_foreign,
            peers_silent: ours.peers_silent,
            pipes_closed: ours.pipes_closed,
            ..theirs.clone()
        };
        assert_eq!(*theirs, other, "left: the node");
        assert_eq!(self.node.pending.len(), requests.len());
        for pipe in pipes {
            let real = self.node.socket.pipe(pipe.id).expect("open");
            assert_eq!((real.load.in_flight, real.silent), (pipe.in_flight, pipe.silent), "{pipe:?}");
        }
        for (id, request) in requests {
            if std::mem::take(&mut request.woken) {
                assert!(request.flag.lower(), "{id:?} was not woken");
            }
        }
    }
}

fn ended(polled: Poll<Outcome>) -> Option<End> {
    match polled {
        Poll::Pending => None,
        Poll::Ready(Outcome::Reply(envelope)) => Some(End::Reply { len: envelope.body().len() }),
        Poll::Ready(Outcome::Deadline) => Some(End::Deadline),
        Poll::Ready(Outcome::Lost { written }) => Some(End::Lost { written }),
    }
}

fn pick<T>(from: &[T], nth: usize) -> Option<&T> {
    // Only the latest requests are still affected by operations.
    from.len().checked_sub(1 + nth % from.len().max(1)).map(|at| &from[at])
}

#[test]
fn a_node_that_asks_agrees_with_the_naive_model() {
    let seed = seed_or(fastrand::u64(..));
    println!("BUS_SEED={seed}");
    let config = Config {
        cases: 2000,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None, // BUS_SEED repeats it.
        ..Config::default()
    };
    let seen = RefCell::new(BTreeMap::new());
    let run = TestRunner::new(config).run(&ops(), |ops| {
        let mut pair = Pair::new();
        for op in &ops {
            pair.apply(op);
            pair.agree();
        }
        for id in std::mem::take(&mut pair.live) {
            pair.node.close_request(id);
        }
        assert!(pair.node.pending.is_empty() && pair.node.pending.next_timeout().is_none());
        assert!(pair.node.socket.pipes().all(|(_, pipe)| pipe.load.in_flight == 0));
        for (name, count) in pair.naive.counters.list() {
            *seen.borrow_mut().entry(name).or_insert(0) += count;
        }
        Ok(())
    });
    run.unwrap();
    let never: Vec<_> = PATHS.iter().filter(|path| seen.borrow()[**path] == 0).collect();
    assert!(never.is_empty(), "the operations never led to {never:?}");
}
