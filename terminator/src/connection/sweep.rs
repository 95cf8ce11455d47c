//! Every open connection of a worker, and the one task that looks at their time-outs.
//!
//! Owns: the table of connections and the coarse clock. Does not: end a connection; it orders its task to. A time-out
//! is as exact as [`SWEEP_INTERVAL`]; in return a request costs no timer.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use slab::Slab;
use tokio::time::MissedTickBehavior;

use super::{Connection, Order, Phase};
use crate::config::Limits;
use crate::limits::{LINGER_TIMEOUT, REST_AFTER, SWEEP_INTERVAL};
use crate::worker::Worker;

/// The open connections of one worker.
#[derive(Debug)]
pub struct Connections {
    open: RefCell<Slab<Rc<Connection>>>,
    limits: Limits,
    started: Instant,
    now_ms: Cell<u64>,
    draining: Cell<bool>,
}

impl Connections {
    /// None open; the clock at zero.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            open: RefCell::default(),
            limits,
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

    /// Whether none is open.
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
        // Dropped after the borrow: a connection may own the last handle of something that looks in here.
        let removed = self.open.borrow_mut().remove(place);
        drop(removed);
    }

    fn sweep(&self) {
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.now_ms.set(now_ms);
        for (_, connection) in &*self.open.borrow() {
            let (phase, waited_ms) = (connection.phase.get(), now_ms - connection.since_ms.get());
            if is_late(phase, waited_ms, &self.limits) {
                end(connection);
            } else if may_rest(phase, waited_ms)
                && !connection.resting.get()
                && connection.order.get().is_none()
            {
                connection.give(Order::Rest);
            }
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

fn is_late(phase: Phase, waited_ms: u64, limits: &Limits) -> bool {
    let limit = match phase {
        Phase::Accepted | Phase::Head => limits.header_timeout,
        Phase::Body => limits.body_timeout,
        Phase::Response => limits.write_timeout,
        Phase::Idle => limits.idle_timeout,
        Phase::Linger => LINGER_TIMEOUT,
        Phase::Service | Phase::Parts => return false,
    };
    Duration::from_millis(waited_ms) >= limit
}

/// Whether hyper has waited long enough, for another request or for a reply.
fn may_rest(phase: Phase, waited_ms: u64) -> bool {
    matches!(phase, Phase::Idle | Phase::Service) && Duration::from_millis(waited_ms) >= REST_AFTER
}

fn end(connection: &Connection) {
    if connection.phase.get() == Phase::Body {
        // There is a request to answer: its own future does.
        if !connection.body_expired.replace(true) {
            connection.wake();
        }
    } else {
        connection.give(Order::Expire);
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::{Config, Settings};

    #[test]
    fn every_phase_that_waits_for_the_client_ends() {
        let settings = Settings::parse_from(["terminator", "--bus-listen", "inproc://a"]);
        let limits = Config::new(settings).unwrap().limits;
        for (phase, limit_ms) in [
            (Phase::Accepted, 10_000),
            (Phase::Head, 10_000),
            (Phase::Body, 30_000),
            (Phase::Response, 30_000),
            (Phase::Idle, 75_000),
            (Phase::Linger, 2_000),
        ] {
            assert!(!is_late(phase, limit_ms - 1, &limits), "{phase:?}");
            assert!(is_late(phase, limit_ms, &limits), "{phase:?}");
        }
        for phase in [Phase::Service, Phase::Parts] {
            assert!(!is_late(phase, u64::from(u32::MAX), &limits), "{phase:?}");
        }
    }
}
