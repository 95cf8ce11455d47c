//! One worker: the bus handle, permits, routes, counters and connections that its thread owns.
//!
//! Owns: putting them together, and drain as seen by one worker. Does not: threads (crate `bus`),
//! nor the road of a request (`forward`). Invariant: nothing in it leaves the thread but
//! [`Picture`]s.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

use bus::{Bus, PeerInfo, RouteInfo};
use role::telemetry::Latency;
use tokio::sync::Notify;

use crate::access_log::{AccessLog, Entry};
use crate::config::Config;
use crate::connection::{Buffers, Connections};
use crate::limit::Permits;
use crate::listen::Listener;
use crate::request::Heads;
use crate::rescue::Refusal;
use crate::route::Routes;
use crate::stats::{Stats, Totals};

/// What a worker's thread owns.
#[derive(Debug)]
pub struct Worker {
    /// Its number, from 0.
    pub id: usize,
    /// The settings.
    pub config: Arc<Config>,
    /// Its share of the bus.
    pub bus: BusHandle,
    /// Requests in flight.
    pub permits: Permits,
    /// Lines per route.
    pub routes: Routes,
    /// Counters.
    pub stats: Stats,
    /// Open connections and the coarse clock.
    pub connections: Connections,
    /// Where lines of requests go; `None` = off.
    pub access_log: Option<AccessLog>,
    /// Memory for heads under way.
    pub heads: Heads,
    /// Memory that the connections share.
    pub buffers: Buffers,
    leaving: Cell<bool>,
    draining: Cell<bool>,
    settled_at: Instant,
    /// Services that are expected and have not joined.
    missing: RefCell<Vec<String>>,
    /// Told when no more connections are to be accepted.
    pub accepting: Notify,
}

/// [`Bus`] with a `Debug`.
#[derive(Clone)]
pub struct BusHandle(pub Bus);

impl std::fmt::Debug for BusHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bus")
    }
}

impl std::ops::Deref for BusHandle {
    type Target = Bus;

    fn deref(&self) -> &Bus {
        &self.0
    }
}

impl Worker {
    /// Starts serving on `listeners`; inside the worker's runtime.
    #[must_use]
    pub fn start(
        id: usize,
        bus: Bus,
        config: Arc<Config>,
        listeners: Vec<Listener>,
        access_log: Option<AccessLog>,
    ) -> Rc<Self> {
        let (settle, missing) = (config.settle, config.expect.clone());
        bus.expect(&config.expect);
        let worker = Rc::new(Self {
            id,
            bus: BusHandle(bus),
            permits: Permits::new(config.limits.in_flight),
            routes: Routes::new(Arc::clone(&config)),
            stats: Stats::default(),
            connections: Connections::new(&config),
            access_log,
            config,
            heads: Heads::default(),
            missing: RefCell::new(missing),
            buffers: Buffers::default(),
            leaving: Cell::new(false),
            draining: Cell::new(false),
            settled_at: Instant::now() + settle,
            accepting: Notify::new(),
        });
        for listener in listeners {
            tokio::task::spawn_local(listener.accept(Rc::clone(&worker)));
        }
        tokio::task::spawn_local(role::memory::give_back());
        tokio::task::spawn_local(await_expected(Rc::downgrade(&worker)));
        tokio::task::spawn_local(crate::connection::sweep(Rc::downgrade(&worker)));
        worker
    }

    /// True while services may still be dialling, or one that is expected has not joined.
    #[must_use]
    pub fn settling(&self) -> bool {
        Instant::now() < self.settled_at || !self.missing.borrow().is_empty()
    }

    /// The services that are expected and have not joined, comma-separated.
    #[must_use]
    pub fn missing(&self) -> String {
        self.missing.borrow().join(", ")
    }

    /// Why a path that nobody claims is refused.
    #[must_use]
    pub fn unclaimed(&self) -> Refusal {
        if self.settling() {
            Refusal::Settling { limit: self.config.settle, missing: self.missing() }
        } else {
            Refusal::NoRoute
        }
    }

    /// True when the process is about to stop: every response is the last of its connection.
    #[must_use]
    pub fn leaving(&self) -> bool {
        self.leaving.get()
    }

    /// Has every response from now on say that its connection closes. Everything is still served.
    pub fn begin_to_leave(&self) {
        self.leaving.set(true);
    }

    /// True when a drain has begun.
    #[must_use]
    pub fn draining(&self) -> bool {
        self.draining.get()
    }

    /// Closes the listeners, tells every connection to end with its next response, idle ones at
    /// once.
    pub fn begin_drain(&self) {
        self.leaving.set(true);
        self.draining.set(true);
        self.accepting.notify_waiters();
        self.connections.drain();
    }

    /// Gives the access log a line, if there is one.
    #[inline]
    pub fn log(&self, entry: impl FnOnce() -> Entry) {
        if let Some(log) = &self.access_log
            && !log.write(entry())
        {
            self.stats.access_log_dropped.increment();
        }
    }

    /// The numbers now.
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals {
            in_flight: self.permits.in_flight() as u64,
            outstanding: self.bus.outstanding() as u64,
            bus: self.bus.counters(),
            ..self.stats.totals()
        }
    }

    /// Everything that an operator may ask, as values that may leave the thread.
    #[must_use]
    pub fn picture(&self) -> Picture {
        Picture {
            worker: self.id,
            totals: self.totals(),
            latencies: self.routes.latencies(),
            peers: self.bus.peers(),
            routes: self.bus.routes(),
        }
    }
}

/// Strikes each service that joins off the list of those that are missing.
async fn await_expected(worker: Weak<Worker>) {
    loop {
        let joined = {
            let Some(worker) = worker.upgrade() else { return };
            // Before the look, so that nobody joins between the two.
            let joined = worker.bus.joined();
            let peers = worker.bus.peers();
            let has_joined = |name: &String| {
                peers.iter().filter_map(|peer| peer.hello.as_ref()).any(|hello| hello.service == *name)
            };
            let mut missing = worker.missing.borrow_mut();
            missing.retain(|name| !has_joined(name));
            if missing.is_empty() {
                return;
            }
            joined
        };
        joined.await;
    }
}

/// One worker as an operator sees it.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Its number.
    pub worker: usize,
    /// Counters and what is open now.
    pub totals: Totals,
    /// Latency by route pattern, since start.
    pub latencies: Vec<(String, Latency)>,
    /// Connected services.
    pub peers: Vec<PeerInfo>,
    /// Claimed routes.
    pub routes: Vec<RouteInfo>,
}
