//! Shares belong to instances, however many connections lead to each of them.

#[path = "fixtures/peer.rs"]
mod peer;

use std::sync::Arc;
use std::time::Instant;

use bus_proto::balancer::Shared;
use bus_proto::node::{Ask, NodeConfig, To};
use bus_proto::socket::Remote;
use bus_proto::{Flags, Framing, Kind, Node, PipeId, RequestId};
use peer::{config, epoch, hello, hello_message, ms, plain, reply, written};

/// One of two workers, and its pipes to each instance.
struct Worker {
    node: Node,
    now: Instant,
    pipes: Vec<(&'static str, PipeId)>,
}

impl Worker {
    fn new() -> Self {
        let now = epoch();
        let node = Node::new(NodeConfig { worker: 0, workers: 2, ..config(1) }, now);
        Self { node, now, pipes: Vec::new() }
    }

    /// Adds a connection of this worker, or of the other one.
    fn connect(&mut self, instance: &'static str, weight: u32, is_own: bool) {
        let index = u32::try_from(self.pipes.len()).expect("a few");
        let remote = Remote { worker: 1, pipe: PipeId { index, generation: 0 } };
        let pipe = if is_own {
            self.node.open_pipe(self.now, Framing::Tcp)
        } else {
            self.node.open_remote(self.now, Framing::Tcp, remote, Arc::new(Shared::new(2)))
        };
        let mut said = hello("s", &["GET /"], &[]);
        (said.instance, said.weight) = (instance.to_owned(), weight);
        self.node.handle_message(self.now, pipe, hello_message(&said));
        self.pipes.push((instance, pipe));
    }

    /// How many of a thousand requests, answered in batches of eight, each of `instances` gets.
    fn shares<const N: usize>(&mut self, instances: [&str; N]) -> [usize; N] {
        let mut got = [0; N];
        for _ in 0..125 {
            for _ in 0..8 {
                let route = self.node.directory.find("GET", "/").expect("claimed");
                let ask =
                    Ask { route, flags: Flags::IDEMPOTENT, deadline: self.now + ms(60_000), to: To::Any };
                self.node.request(self.now, ask, |_| {}, &[]).expect("an instance accepts it");
            }
            self.now += ms(1);
            for (instance, pipe) in self.pipes.clone() {
                let sent = written(&mut self.node, pipe);
                for request in sent.iter().map(|sent| sent.header()) {
                    if request.kind == Kind::Request {
                        let answer = reply(1, request.correlation.request, false, b"");
                        self.node.handle_message(self.now, pipe, answer);
                        got[instances.iter().position(|known| *known == instance).expect("is asked for")] +=
                            1;
                    }
                }
            }
        }
        got
    }
}

fn assert_near(got: usize, wanted: usize) {
    assert!(got.abs_diff(wanted) <= 30, "{got}, not {wanted}");
}

/// Two workers on both sides: this worker has both connections to `a` and one to `b`.
#[test]
fn an_instance_with_more_connections_gets_no_more_requests() {
    let mut worker = Worker::new();
    for (instance, is_own) in [("a", true), ("a", true), ("b", true), ("b", false)] {
        worker.connect(instance, 100, is_own);
    }
    let [a, b] = worker.shares(["a", "b"]);
    assert_near(a, 500);
    assert_near(b, 500);
}

/// The same, seen from the worker that has only one connection, to `b`.
#[test]
fn connections_of_another_worker_are_shared_out_as_well() {
    let mut worker = Worker::new();
    for (instance, is_own) in [("a", false), ("a", false), ("b", true)] {
        worker.connect(instance, 100, is_own);
    }
    let [a, b] = worker.shares(["a", "b"]);
    assert_near(a, 500);
    assert_near(b, 500);
}

#[test]
fn weights_hold_between_instances_and_not_between_connections() {
    let mut worker = Worker::new();
    for (instance, weight) in [("a", 30), ("a", 30), ("a", 30), ("b", 90)] {
        worker.connect(instance, weight, true);
    }
    let [a, b] = worker.shares(["a", "b"]);
    assert_near(a, 250);
    assert_near(b, 750);
}

#[test]
fn a_connection_that_takes_nothing_leaves_its_share_to_the_instances_others() {
    let mut worker = Worker::new();
    for instance in ["a", "a", "b"] {
        worker.connect(instance, 100, true);
    }
    let (_, first) = worker.pipes[0];
    worker.node.handle_message(worker.now, first, plain(Kind::Drain, 0, RequestId(0)));
    let [a, b] = worker.shares(["a", "b"]);
    assert_near(a, 500);
    assert_near(b, 500);
}

#[test]
fn peers_that_name_no_instance_are_one_each() {
    let mut worker = Worker::new();
    for instance in ["", "", "b"] {
        worker.connect(instance, 100, true);
    }
    let [unnamed, b] = worker.shares(["", "b"]);
    assert_near(unnamed, 667);
    assert_near(b, 333);
}
