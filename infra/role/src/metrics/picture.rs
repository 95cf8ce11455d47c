//! What one worker knows of itself at one moment, as values that may leave its thread.
//!
//! Owns: the shape. Leaves filling it to the roles. Invariant: plain data; a counter or a gauge
//! that is left out counts as 0.

use bus::{Bus, PeerInfo, RouteInfo};

use super::Latency;
use super::table::upstream_name;

/// One worker at one moment.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    /// The worker's number, from 0.
    pub worker: usize,
    /// Counters without a label by their names in the table, the bus's among them; and the role's
    /// own, which the table does not have.
    pub counters: Vec<(&'static str, u64)>,
    /// Gauges by their names in the table.
    pub gauges: Vec<(&'static str, u64)>,
    /// Responses by status.
    pub statuses: Vec<(u16, u64)>,
    /// Requests and connections turned away, by every reason that there is.
    pub rejected: Vec<(&'static str, u64)>,
    /// Routes that requests take or may take.
    pub routes: Vec<RoutePicture>,
    /// Scheduled tasks.
    pub tasks: Vec<TaskPicture>,
    /// Connections of the bus, of all buses of the worker.
    pub peers: Vec<Peer>,
    /// Routes that are claimed: by peers as the terminator sees them, or by the service itself.
    pub claims: Vec<RouteInfo>,
}

/// One route's numbers.
#[derive(Clone, Debug)]
pub struct RoutePicture {
    /// `GET /members/{id}`.
    pub pattern: String,
    /// Requests answered since the start.
    pub requests: u64,
    /// Of them those with a status of 500 and above.
    pub errors: u64,
    /// As [`Latencies`](super::Latencies) asked for.
    pub latency: Latency,
}

/// One scheduled task's numbers.
#[derive(Clone, Debug)]
pub struct TaskPicture {
    /// Its name.
    pub name: String,
    /// Runs begun since the start.
    pub runs: u64,
    /// Of them those that failed.
    pub failures: u64,
    /// Times that passed without a run.
    pub missed: u64,
}

/// A connection of one of the worker's buses.
#[derive(Clone, Debug)]
pub struct Peer {
    /// `bus`, or `upstream` for the bus on which a service asks others.
    pub bus: &'static str,
    /// The connection.
    pub info: PeerInfo,
}

/// Adds the counters and the peers of the worker's bus, and of its upstream bus if it has one;
/// `outstanding` is set to the requests outstanding on both.
pub fn add_bus(picture: &mut Picture, bus: &Bus, upstream: Option<&Bus>) {
    picture.counters.extend(bus.counters());
    picture.peers.extend(bus.peers().into_iter().map(|info| Peer { bus: "bus", info }));
    let mut outstanding = bus.outstanding();
    if let Some(upstream) = upstream {
        let counters = upstream.counters().into_iter();
        picture.counters.extend(counters.map(|(name, count)| (upstream_name(name), count)));
        picture.peers.extend(upstream.peers().into_iter().map(|info| Peer { bus: "upstream", info }));
        outstanding += upstream.outstanding();
    }
    picture.gauges.push(("outstanding", outstanding as u64));
}
