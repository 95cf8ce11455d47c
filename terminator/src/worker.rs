//! One worker's state: the bus handle, settings, permits, routes, counters and connections that its
//! thread owns.
//!
//! Owns plain data and what follows from it: whether the worker is settling, leaving or draining.
//! Leaves spawning tasks to `tasks`, the thread to crate `role`, the path of a request to
//! `forward`, and what operators see of it to `views`. Invariant: nothing in it leaves the thread.

mod connections;
mod heads;
mod permits;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bus::Bus;
use tokio::sync::Notify;

use crate::access_log::{AccessLog, Record};
use crate::config::Config;
use crate::limits::COPIES;
use crate::live::Decisions;
use crate::rescue::Refusal;
use crate::route::Routes;
use crate::stats::Stats;
pub use connections::Connections;
pub(crate) use connections::{Order, Watched};
pub(crate) use heads::EncodedHead;
pub use heads::Heads;
pub use permits::{Permit, Permits};

/// The state of one worker.
#[derive(Debug)]
pub struct Worker {
    /// Its number, from 0.
    pub id: usize,
    /// The settings.
    pub config: Arc<Config>,
    /// This worker's handle of the bus.
    pub bus: BusHandle,
    /// Requests in flight.
    pub permits: Permits,
    /// Requests whose copies are in flight.
    pub copies: Permits,
    /// Deadline and latency of each route.
    pub routes: Routes,
    /// Toggles and versions of requests.
    pub decisions: Decisions,
    /// Counters.
    pub stats: Stats,
    /// Open connections and the coarse clock.
    pub connections: Connections,
    /// Queue of the access log; `None` when it is off.
    pub access_log: Option<AccessLog>,
    /// Buffers for the heads of requests.
    pub heads: Heads,
    leaving: Cell<bool>,
    closing: Cell<bool>,
    draining: Cell<bool>,
    settled_at: Instant,
    /// Expected services that have not joined yet.
    missing: RefCell<Vec<String>>,
    /// Notified when the listeners must stop accepting.
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
    /// The state of a worker that starts now: no connection is open, and every service that the
    /// settings expect is missing.
    #[must_use]
    pub fn new(id: usize, bus: Bus, config: Arc<Config>, access_log: Option<AccessLog>) -> Rc<Self> {
        Rc::new(Self {
            id,
            bus: BusHandle(bus),
            permits: Permits::new(config.limits.in_flight),
            copies: Permits::new(COPIES),
            routes: Routes::new(Arc::clone(&config)),
            decisions: Decisions::new(config.identities.clone(), config.environment.as_deref()),
            stats: Stats::default(),
            connections: Connections::new(&config),
            access_log,
            heads: Heads::default(),
            leaving: Cell::new(false),
            closing: Cell::new(false),
            draining: Cell::new(false),
            settled_at: Instant::now() + config.settle,
            missing: RefCell::new(config.expect.clone()),
            accepting: Notify::new(),
            config,
        })
    }

    /// True while services may still be dialling (`--settle`), or an expected one is missing.
    #[must_use]
    pub fn settling(&self) -> bool {
        Instant::now() < self.settled_at || !self.missing.borrow().is_empty()
    }

    /// The expected services that have not joined yet, comma-separated.
    #[must_use]
    pub fn missing(&self) -> String {
        self.missing.borrow().join(", ")
    }

    /// Removes the services that have joined from those that are missing; true when none is left.
    pub(crate) fn note_joined(&self) -> bool {
        let peers = self.bus.peers();
        let has_joined = |name: &String| {
            peers.iter().filter_map(|peer| peer.hello.as_ref()).any(|hello| hello.service == *name)
        };
        let mut missing = self.missing.borrow_mut();
        missing.retain(|name| !has_joined(name));
        missing.is_empty()
    }

    /// The refusal of a path that no service claims.
    #[must_use]
    pub fn unclaimed(&self) -> Refusal {
        if self.settling() {
            Refusal::Settling { limit: self.config.settle, missing: self.missing() }
        } else {
            Refusal::NoRoute
        }
    }

    /// True while at least half of every limit on requests is free, and no drain is near: copies
    /// are the first to go.
    #[must_use]
    pub fn has_time_for_copies(&self) -> bool {
        let limits = (self.config.limits.in_flight, self.config.bus.limits.pending_max);
        !self.leaving() && self.permits.in_flight() <= limits.0 / 2 && self.bus.outstanding() <= limits.1 / 2
    }

    /// Shows the number of differences that all workers together have found, on the first worker.
    pub fn show_differences(&self, differences: u64) {
        self.stats.ghost_differences.set(if self.id == 0 { differences } else { 0 });
    }

    /// True when the process is about to stop: every response closes its connection.
    #[must_use]
    pub fn leaving(&self) -> bool {
        self.leaving.get()
    }

    /// Makes every response from now on close its connection. Requests are still served.
    pub fn begin_to_leave(&self) {
        self.leaving.set(true);
    }

    /// True when a drain has begun.
    #[must_use]
    pub fn draining(&self) -> bool {
        self.draining.get()
    }

    /// Stops accepting, and makes every response from now on close its connection. True the first
    /// time.
    pub fn begin_to_close(&self) -> bool {
        self.leaving.set(true);
        self.accepting.notify_waiters();
        !self.closing.replace(true)
    }

    /// Closes idle connections, and makes every other connection close after its response.
    pub fn begin_drain(&self) {
        self.draining.set(true);
        self.connections.drain();
    }

    /// Queues a record for the access log, if it is on.
    #[inline]
    pub fn log(&self, record: impl FnOnce() -> Record) {
        if let Some(log) = &self.access_log
            && !log.write(record())
        {
            self.stats.access_log_dropped.increment();
        }
    }
}
