//! The tasks of one worker, except those of its connections.
//!
//! Owns starting a worker: one task per listener, the sweep of the connections' time-outs, the wait
//! for expected services, and giving memory back. Leaves the state to `worker`, accepting to
//! `listen`, and each connection's task to `serve`. Invariant: a listener's task ends when a
//! drain begins; the others end with the worker's state or, at the latest, with its runtime.

use std::rc::{Rc, Weak};
use std::sync::Arc;

use bus::Bus;
use tokio::time::MissedTickBehavior;

use crate::access_log::AccessLog;
use crate::config::Config;
use crate::limits::SWEEP_INTERVAL;
use crate::listen::Listener;
use crate::serve::Server;
use crate::worker::Worker;

impl Worker {
    /// Starts a worker that accepts no clients yet. Must be called inside the worker's runtime.
    #[must_use]
    pub fn start(id: usize, bus: Bus, config: Arc<Config>, access_log: Option<AccessLog>) -> Rc<Self> {
        bus.expect(&config.expect);
        let worker = Self::new(id, bus, config, access_log);
        tokio::task::spawn_local(role::memory::give_back());
        tokio::task::spawn_local(await_expected(Rc::downgrade(&worker)));
        tokio::task::spawn_local(sweep(Rc::downgrade(&worker)));
        worker
    }

    /// Accepts clients on all of the worker's listeners. Must be called inside its runtime.
    pub fn accept(self: &Rc<Self>, listeners: Vec<Listener>) {
        let server = Server::new(Rc::clone(self));
        for listener in listeners {
            tokio::task::spawn_local(listener.accept(server.clone()));
        }
    }
}

/// Waits until every expected service has joined.
async fn await_expected(worker: Weak<Worker>) {
    loop {
        let joined = {
            let Some(worker) = worker.upgrade() else { return };
            // Created before the look at the peers, so that a join between the two is not missed.
            let joined = worker.bus.joined();
            if worker.note_joined() {
                return;
            }
            joined
        };
        joined.await;
    }
}

/// Checks the time-outs of all connections, once every [`SWEEP_INTERVAL`].
async fn sweep(worker: Weak<Worker>) {
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(worker) = worker.upgrade() else { return };
        worker.connections.sweep();
    }
}
