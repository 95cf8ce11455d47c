//! Every open connection of a worker, and the one task that looks at their time-outs.
//!
//! Owns: the table of connections and the coarse clock. Does not: end a connection; it orders its
//! task to. A time-out is as exact as [`SWEEP_INTERVAL`]; in return a request costs no timer.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use http1::{Phase, Timeouts};
use slab::Slab;
use tokio::time::MissedTickBehavior;

use super::{Connection, Order};
use crate::config::Config;
use crate::limits::SWEEP_INTERVAL;
use crate::worker::Worker;

/// The open connections of one worker.
#[derive(Debug)]
pub struct Connections {
    open: RefCell<Slab<Rc<Connection>>>,
    timeouts: Timeouts,
    /// How long a request is served whose client has ended its side.
    half_closed: Duration,
    started: Instant,
    now_ms: Cell<u64>,
    draining: Cell<bool>,
}

impl Connections {
    /// None open; the clock at zero.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            open: RefCell::default(),
            timeouts: config.limits.timeouts,
            half_closed: config.deadline,
            started: Instant::now(),
            now_ms: Cell::new(0),
            draining: Cell::new(false),
        }
    }

    /// Milliseconds since start, as of the last sweep.
    #[inline]
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    /// Connections open now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.borrow().len()
    }

    /// True when none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tells every connection, and those that come, to end with the response under way.
    pub fn drain(&self) {
        self.draining.set(true);
        for (_, connection) in &*self.open.borrow() {
            connection.give(Order::Drain);
        }
    }

    pub(super) fn add(&self, connection: &Rc<Connection>) -> usize {
        if self.draining.get() {
            connection.order.set(Some(Order::Drain));
        }
        self.open.borrow_mut().insert(Rc::clone(connection))
    }

    pub(super) fn remove(&self, place: usize) {
        // Dropped after the borrow: a connection may own the last handle of something that looks in
        // here.
        let removed = self.open.borrow_mut().remove(place);
        drop(removed);
    }

    fn sweep(&self) {
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.now_ms.set(now_ms);
        for (_, connection) in &*self.open.borrow() {
            let waited = Duration::from_millis(now_ms - connection.since_ms.get());
            if self.allowed(connection).is_some_and(|allowed| waited >= allowed) {
                connection.give(Order::Expire);
            }
        }
    }

    /// How long the connection may stay in its phase.
    fn allowed(&self, connection: &Connection) -> Option<Duration> {
        match connection.phase.get() {
            // It may be gone for good: nobody knows before something is written to it.
            Phase::Service if connection.half_closed.get() => Some(self.half_closed),
            phase => self.timeouts.of(phase),
        }
    }
}

/// Looks at every connection's time-out until the worker ends.
pub async fn sweep(worker: Weak<Worker>) {
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(worker) = worker.upgrade() else { return };
        worker.connections.sweep();
    }
}
