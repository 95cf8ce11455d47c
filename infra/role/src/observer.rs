//! Asking the workers of a role: for their pictures, and for their health.
//!
//! Owns: the questions, and the numbers that belong to the process. Leaves to the role what a
//! worker answers ([`Views`]), to `admin` and `telemetry` when it is asked. Invariant: a question
//! costs a worker microseconds and never waits for anything there.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::identity::Identity;
use crate::metrics::{Group, Latencies, Picture, Sample, samples};
use crate::readiness::{Health, Readiness};
use crate::worker::Workers;

/// How long [`Observer::readiness`] waits for the workers: one that does not answer in this time
/// cannot serve in time either.
pub const READY_TIMEOUT: Duration = Duration::from_secs(1);

/// How a role describes one of its workers, whose state is `S`; run on the worker's thread.
pub struct Views<S> {
    /// The metrics that the role has.
    pub groups: &'static [Group],
    /// The worker's numbers.
    pub picture: fn(&S, Latencies) -> Picture,
    /// The worker's part of `/ready`.
    pub health: fn(&S) -> Health,
    /// True for a role that gets its requests from the bus: without a peer it is not ready.
    pub needs_peer: bool,
}

impl<S> Clone for Views<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Views<S> {}

/// What belongs to the process rather than to a worker.
#[derive(Clone, Debug)]
pub struct Process {
    /// Who it is.
    pub identity: Identity,
    /// When it started.
    pub started: Instant,
    /// The metrics that it has.
    pub groups: &'static [Group],
}

impl Process {
    /// The metrics that `pictures` add up to.
    #[must_use]
    pub fn samples(&self, pictures: &[Picture], statsd_packets_dropped: u64) -> Vec<Sample> {
        let own = [
            ("uptime_seconds", self.started.elapsed().as_secs()),
            ("statsd_packets_dropped", statsd_packets_dropped),
        ];
        samples(self.groups, pictures, &own)
    }
}

/// Asks the workers of a role.
pub struct Observer<S> {
    /// The process.
    pub process: Process,
    workers: Rc<Workers<S>>,
    count: usize,
    views: Views<S>,
    draining: Cell<bool>,
    statsd_packets_dropped: Cell<u64>,
}

impl<S: 'static> Observer<S> {
    /// `count` workers were started.
    #[must_use]
    pub fn new(identity: Identity, workers: Rc<Workers<S>>, count: usize, views: Views<S>) -> Rc<Self> {
        let process = Process { identity, started: Instant::now(), groups: views.groups };
        let (draining, statsd_packets_dropped) = Default::default();
        Rc::new(Self { process, workers, count, views, draining, statsd_packets_dropped })
    }

    /// The number of workers that were started.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.count
    }

    /// From now on the role is not ready.
    pub fn set_draining(&self) {
        self.draining.set(true);
    }

    /// One picture of each worker that runs.
    ///
    /// # Cancel safety
    /// With [`Latencies::SinceFlush`] samples that were taken are lost; with the others nothing is.
    pub async fn pictures(&self, latencies: Latencies) -> Vec<Picture> {
        let picture = self.views.picture;
        self.workers.ask(move |state| picture(state, latencies)).await
    }

    /// The metrics of all workers together.
    #[must_use]
    pub fn samples(&self, pictures: &[Picture]) -> Vec<Sample> {
        self.process.samples(pictures, self.statsd_packets_dropped.get())
    }

    /// The reasons for which the role takes no requests, if any. The workers are asked rather than
    /// trusted: one that hangs or has ended is a reason.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn readiness(&self) -> Readiness {
        let asked = self.workers.ask(self.views.health);
        match tokio::time::timeout(READY_TIMEOUT, asked).await {
            Ok(parts) => Readiness::of(parts, self.count, self.draining.get(), self.views.needs_peer),
            Err(_) => Readiness::unanswered(READY_TIMEOUT, self.draining.get()),
        }
    }

    pub(crate) fn set_statsd_packets_dropped(&self, count: u64) {
        self.statsd_packets_dropped.set(count);
    }
}
