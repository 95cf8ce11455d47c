//! The open connections of one worker, as far as their time-outs and their drain need them.
//!
//! Owns the table of connections, the phase of each with its start, the orders given to their tasks
//! and the coarse clock. Leaves ending a connection to its task (`serve`), and calling
//! [`Connections::sweep`] to `tasks`. Invariant: a connection that waits for its client is always
//! in a phase with a time-out. A time-out is as exact as
//! [`SWEEP_INTERVAL`](crate::limits::SWEEP_INTERVAL); in return, a request sets no timer.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant};

use http1::{Phase, Timeouts};
use slab::Slab;

use crate::config::Config;

/// What the task of a connection is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Close after the response in progress, or at once when there is none.
    Drain,
    /// Close: the time-out of the current phase has passed.
    Expire,
}

/// One connection as the sweep and the drain see it: its phase, and the order for its task.
#[derive(Debug)]
pub(crate) struct Watched {
    phase: Cell<Phase>,
    /// When the phase began, in milliseconds of the worker's coarse clock.
    since_ms: Cell<u64>,
    order: Cell<Option<Order>>,
    waker: RefCell<Option<Waker>>,
    half_closed: Cell<bool>,
}

impl Watched {
    /// The current phase.
    #[inline]
    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Enters a phase at `now_ms`. An expiry that was ordered for the previous phase is cancelled.
    #[inline]
    pub(crate) fn enter(&self, phase: Phase, now_ms: u64) {
        if self.order.get() == Some(Order::Expire) {
            self.order.set(None);
        }
        self.phase.set(phase);
        self.since_ms.set(now_ms);
    }

    /// True when the client has shut down its sending side. It may still read.
    #[inline]
    pub(crate) fn is_half_closed(&self) -> bool {
        self.half_closed.get()
    }

    /// Notes that the client has shut down its sending side; true when that was known already.
    pub(crate) fn set_half_closed(&self) -> bool {
        self.half_closed.replace(true)
    }

    /// Takes the pending order, if any; the next order wakes `waker`.
    #[inline]
    pub(crate) fn take_order(&self, waker: &Waker) -> Option<Order> {
        let mut kept = self.waker.borrow_mut();
        if !kept.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
            *kept = Some(waker.clone());
        }
        self.order.take()
    }

    fn give(&self, order: Order) {
        self.order.set(Some(order));
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

/// The open connections of one worker.
#[derive(Debug)]
pub struct Connections {
    open: RefCell<Slab<Rc<Watched>>>,
    timeouts: Timeouts,
    /// Time-out of a service's reply when the client has shut down its sending side.
    half_closed: Duration,
    started: Instant,
    now_ms: Cell<u64>,
    draining: Cell<bool>,
}

impl Connections {
    /// An empty table, with the clock at zero.
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

    /// Milliseconds from the worker's start to the last sweep.
    #[inline]
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    /// Number of open connections.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.borrow().len()
    }

    /// True when no connection is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Orders every connection, including those added later, to close after the response in
    /// progress.
    pub fn drain(&self) {
        self.draining.set(true);
        for (_, connection) in &*self.open.borrow() {
            connection.give(Order::Drain);
        }
    }

    /// Orders every connection to close whose phase has lasted longer than its time-out, and sets
    /// the clock.
    pub fn sweep(&self) {
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.now_ms.set(now_ms);
        for (_, connection) in &*self.open.borrow() {
            let waited = Duration::from_millis(now_ms - connection.since_ms.get());
            if self.timeout_of(connection).is_some_and(|timeout| waited >= timeout) {
                connection.give(Order::Expire);
            }
        }
    }

    /// What is watched of a connection that was just accepted.
    pub(crate) fn accepted(&self) -> Rc<Watched> {
        Rc::new(Watched {
            phase: Cell::new(Phase::Accepted),
            since_ms: Cell::new(self.now_ms()),
            order: Cell::new(self.draining.get().then_some(Order::Drain)),
            waker: RefCell::default(),
            half_closed: Cell::default(),
        })
    }

    /// Adds an open connection; returns its key.
    pub(crate) fn add(&self, watched: &Rc<Watched>) -> usize {
        self.open.borrow_mut().insert(Rc::clone(watched))
    }

    /// Removes the connection with this key.
    pub(crate) fn remove(&self, key: usize) {
        self.open.borrow_mut().remove(key);
    }

    /// The time-out of the connection's phase, if it has one.
    fn timeout_of(&self, connection: &Watched) -> Option<Duration> {
        match connection.phase() {
            // The client may have gone altogether, which only a write would show.
            Phase::Service if connection.is_half_closed() => Some(self.half_closed),
            phase => self.timeouts.of(phase),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::Settings;

    fn connections() -> Connections {
        let settings = Settings::parse_from(["terminator", "--bus-listen", "inproc://watched"]);
        Connections::new(&Config::new(settings).unwrap())
    }

    #[test]
    fn a_drain_reaches_connections_that_come_after_it() {
        let connections = connections();
        let before = connections.accepted();
        let key = connections.add(&before);
        connections.drain();
        let after = connections.accepted();
        assert_eq!(before.take_order(Waker::noop()), Some(Order::Drain));
        assert_eq!(after.take_order(Waker::noop()), Some(Order::Drain));
        connections.remove(key);
        assert!(connections.is_empty());
    }

    #[test]
    fn an_expiry_is_cancelled_by_the_next_phase_and_a_drain_is_not() {
        let connections = connections();
        let connection = connections.accepted();
        connection.give(Order::Expire);
        connection.enter(Phase::Head, 0);
        assert_eq!(connection.take_order(Waker::noop()), None);
        connection.give(Order::Drain);
        connection.enter(Phase::Service, 0);
        assert_eq!(connection.take_order(Waker::noop()), Some(Order::Drain));
    }
}
