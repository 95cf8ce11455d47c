//! Peers and routes as data, for the admin listener. Not on the hot path.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bus_proto::{Hello, Node, PipeId};

/// One pipe and the peer behind it.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// The pipe's id, unique within its worker: generation and index.
    pub pipe: u64,
    /// The address of the peer, such as `tcp://127.0.0.1:40112` or `ipc:///run/a.sock`.
    pub endpoint: String,
    /// True when this side dialled.
    pub dialled: bool,
    /// When another worker owns the connection: that worker, and the pipe's id there. The figures
    /// of this row then count what this worker sent through it.
    pub via: Option<(usize, u64)>,
    /// The peer's last hello.
    pub hello: Option<Hello>,
    /// True when the peer asked for no new requests.
    pub draining: bool,
    /// True when the peer used to answer pings and has not for too long.
    pub silent: bool,
    /// Requests in flight.
    pub in_flight: u32,
    /// Peak EWMA of the reply time.
    pub latency: Duration,
    /// Requests sent to it.
    pub requests: u64,
    /// Replies received from it.
    pub replies: u64,
    /// Requests to it that expired or were lost.
    pub failures: u64,
    /// Messages in its out-queue.
    pub queued_messages: usize,
    /// Bytes in its out-queue.
    pub queued_bytes: usize,
}

impl PeerInfo {
    pub(crate) fn list(node: &Node, now: Instant, describe: impl Fn(PipeId) -> (String, bool)) -> Vec<Self> {
        let info = |(id, pipe): (PipeId, &bus_proto::socket::Pipe)| {
            let (endpoint, dialled) = describe(id);
            Self {
                pipe: number(id),
                endpoint,
                dialled,
                via: pipe.remote.map(|remote| (usize::from(remote.worker), number(remote.pipe))),
                hello: pipe.hello.clone(),
                draining: pipe.draining,
                silent: pipe.silent,
                in_flight: pipe.load.in_flight,
                latency: pipe.load.latency(now),
                requests: pipe.load.requests,
                replies: pipe.load.replies,
                failures: pipe.load.failures,
                queued_messages: pipe.out.messages(),
                queued_bytes: pipe.out.bytes(),
            }
        };
        node.socket.pipes().map(info).collect()
    }
}

fn number(id: PipeId) -> u64 {
    u64::from(id.generation) << 32 | u64::from(id.index)
}

/// One route.
#[derive(Clone, Debug)]
pub struct RouteInfo {
    /// The pattern, such as `GET /profiles/{id}`.
    pub pattern: String,
    /// The service that holds it.
    pub service: String,
    /// Number of its instances that take requests now.
    pub instances: usize,
    /// The same by version.
    pub versions: BTreeMap<String, usize>,
}

impl RouteInfo {
    pub(crate) fn list(node: &Node) -> Vec<Self> {
        let takes =
            |peer: &&PipeId| node.socket.pipe(**peer).is_some_and(bus_proto::socket::Pipe::takes_requests);
        let info = |entry: &bus_proto::directory::Entry| {
            let service = node.directory.service(entry.service);
            let mut versions = BTreeMap::new();
            for pipe in entry.peers.all().iter().filter(takes).filter_map(|peer| node.socket.pipe(*peer)) {
                let version = pipe.hello.as_ref().map(|hello| hello.version.clone()).unwrap_or_default();
                *versions.entry(version).or_default() += 1;
            }
            Self {
                pattern: entry.pattern.to_string(),
                service: service.map_or_else(String::new, |service| service.name.clone()),
                instances: versions.values().sum(),
                versions,
            }
        };
        node.directory.entries().map(info).collect()
    }
}
