//! Replies that are passed from the worker with the connection to the worker that asked, and get
//! lost on the way.

#[path = "fixtures/peer.rs"]
mod peer;

use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use bus_proto::balancer::Shared;
use bus_proto::node::{Ask, NodeConfig, To};
use bus_proto::pending::Outcome;
use bus_proto::socket::Remote;
use bus_proto::{Flags, Framing, Kind, Node, PipeId, RequestId};
use peer::{Flag, config, epoch, hello, hello_message, ms, reply, written};

/// A worker that reaches the service `s` only through a connection of worker 0.
struct Asker {
    node: Node,
    now: Instant,
    stand_in: PipeId,
    shared: Arc<Shared>,
}

impl Asker {
    fn new() -> Self {
        let now = epoch();
        let mut node = Node::new(NodeConfig { worker: 1, workers: 3, ..config(1) }, now);
        let (shared, pipe) = (Arc::new(Shared::new(3)), PipeId { index: 0, generation: 0 });
        let remote = Remote { worker: 0, pipe };
        let stand_in = node.open_remote(now, Framing::Tcp, remote, Arc::clone(&shared));
        node.handle_message(now, stand_in, hello_message(&hello("s", &["GET /"], &[])));
        Self { node, now, stand_in, shared }
    }

    fn ask(&mut self) -> RequestId {
        let route = self.node.directory.find("GET", "/").expect("claimed");
        let ask = Ask { route, flags: Flags::IDEMPOTENT, deadline: self.now + ms(60_000), to: To::Any };
        let id = self.node.request(self.now, ask, |_| {}, &[]).expect("it takes requests").id;
        assert!(self.node.poll_reply(id, &Flag::raised().waker()).is_pending());
        id
    }

    fn reply(&mut self, id: RequestId, body: &[u8]) {
        self.node.handle_message(self.now, self.stand_in, reply(1, id, false, body));
    }

    fn poll(&mut self, id: RequestId) -> Poll<Outcome> {
        self.node.poll_reply(id, &Flag::raised().waker())
    }

    fn is_lost(&mut self, id: RequestId) -> bool {
        matches!(self.poll(id), Poll::Ready(Outcome::Lost { written: true }))
    }

    fn is_answered(&mut self, id: RequestId) -> bool {
        matches!(self.poll(id), Poll::Ready(Outcome::Reply(_)))
    }
}

#[test]
fn a_lost_reply_ends_its_own_request_and_no_other() {
    let mut asker = Asker::new();
    let (broken, whole) = (asker.ask(), asker.ask());
    written(&mut asker.node, asker.stand_in);
    asker.node.lose_reply(asker.now, asker.stand_in, broken);
    asker.reply(whole, b"all of it");
    assert!(asker.is_answered(whole));
    assert!(asker.is_lost(broken));
    let told: Vec<_> = written(&mut asker.node, asker.stand_in).iter().map(|sent| sent.header()).collect();
    assert!(matches!(&told[..], [one] if one.kind == Kind::Cancel && one.correlation.request == broken));
    asker.reply(broken, b"second part");
    assert_eq!((asker.node.counters.reply_late, asker.node.counters.requests_lost), (1, 1));
}

#[test]
fn a_lost_reply_of_another_pipe_ends_nothing() {
    let mut asker = Asker::new();
    let id = asker.ask();
    let other = asker.node.open_pipe(asker.now, Framing::Tcp);
    asker.node.lose_reply(asker.now, other, id);
    asker.reply(id, b"all of it");
    assert!(asker.is_answered(id));
}

/// The worker with the connection could not report which reply was lost.
#[test]
fn what_comes_behind_an_unknown_reply_that_was_lost_is_lost_too() {
    let mut asker = Asker::new();
    for (loser, is_lost) in [(None, false), (Some(1), true), (Some(2), false)] {
        let id = asker.ask();
        if let Some(worker) = loser {
            asker.shared.lose(worker);
        }
        asker.reply(id, b"perhaps the second part");
        assert_eq!(asker.is_lost(id), is_lost, "lost by {loser:?}");
    }
}
