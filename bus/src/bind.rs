//! Binding: everything that can be refused is refused here, before a thread starts.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bus_proto::{Hello, Limits, Origin};

use crate::bus::Bus;
use crate::crossing::Inboxes;
use crate::endpoint::Endpoint;
use crate::listen::Listen;
use crate::listener::Listener;
use crate::places::Places;
use crate::scheduling::Scheduling;

/// TCP keepalive: after `idle`, `count` probes `interval` apart, then the pipe is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the first probe.
    pub idle: Duration,
    /// Between probes.
    pub interval: Duration,
    /// Probes without an answer.
    pub count: u32,
}

impl Default for Keepalive {
    /// A dead machine is noticed after 19 s; requests time out long before, so this only frees the pipe.
    fn default() -> Self {
        Self { idle: Duration::from_secs(10), interval: Duration::from_secs(3), count: 3 }
    }
}

/// What a process's bus is made of.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Where to listen, and what may be claimed there.
    pub listen: Vec<Listen>,
    /// Whom to dial; every worker dials every one.
    pub dial: Vec<Endpoint>,
    /// The bounds.
    pub limits: Limits,
    /// TCP keepalive.
    pub keepalive: Keepalive,
    /// Said on every new pipe; `None` for one who only asks.
    pub hello: Option<Hello>,
    /// Pass events on to the peers whose hello asks for their topic (the terminator does).
    pub relay_events: bool,
    /// Pipes of the process at most, those that it dials included. Above it a peer that dials in takes the
    /// place of the oldest one that never said anything, or is refused. `None`: an eighth of the files that
    /// the process may open, at most 4096.
    pub pipes_max: Option<usize>,
    /// How the workers' threads are scheduled.
    pub scheduling: Scheduling,
    /// How long a worker with a few requests outstanding looks at its sockets before it sleeps; zero: not at all.
    pub busy_poll: Duration,
}

/// A bus that cannot be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A listener.
    #[error("cannot listen on {endpoint}")]
    Listen {
        /// Where.
        endpoint: Endpoint,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// More workers than a request id can name, or none.
    #[error("{0} workers: at least 1 and at most 256 are possible")]
    Workers(usize),
}

impl From<BindError> for io::Error {
    fn from(error: BindError) -> Self {
        let kind = match &error {
            BindError::Listen { source, .. } => source.kind(),
            BindError::Workers(_) => io::ErrorKind::InvalidInput,
        };
        Self::new(kind, error)
    }
}

/// One worker's share of a bound bus; started on its thread.
pub struct Seed {
    pub(crate) config: Config,
    pub(crate) worker: u8,
    pub(crate) workers: u32,
    pub(crate) origin: Origin,
    pub(crate) listeners: Vec<Arc<Listener>>,
    pub(crate) inboxes: Arc<Inboxes>,
    pub(crate) places: Arc<Places>,
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seed")
            .field("worker", &self.worker)
            .field("listening", &self.listening())
            .finish_non_exhaustive()
    }
}

/// Binds every listener of `config` and makes a share for each of `workers` workers.
///
/// # Errors
/// [`BindError`] names the endpoint that cannot be bound. Nothing stays bound then.
pub fn bind(config: &Config, workers: usize) -> Result<Vec<Seed>, BindError> {
    let last =
        workers.checked_sub(1).and_then(|last| u8::try_from(last).ok()).ok_or(BindError::Workers(workers))?;
    let listen = |listen: &Listen| {
        let failed = |source| BindError::Listen { endpoint: listen.endpoint.clone(), source };
        Listener::bind(listen).map(Arc::new).map_err(failed)
    };
    let listeners = config.listen.iter().map(listen).collect::<Result<Vec<_>, _>>()?;
    let inboxes = Arc::new(Inboxes::new(workers));
    let places = Arc::new(Places::new(config.pipes_max));
    let origin = Origin(fastrand::u64(..));
    let seed = |worker| Seed {
        config: config.clone(),
        worker,
        workers: u32::from(last) + 1,
        origin,
        listeners: listeners.clone(),
        inboxes: Arc::clone(&inboxes),
        places: Arc::clone(&places),
    };
    Ok((0..=last).map(seed).collect())
}

impl Seed {
    /// Where this bus listens; a port that the system chose is filled in.
    #[must_use]
    pub fn listening(&self) -> Vec<Endpoint> {
        self.listeners.iter().map(|listener| listener.endpoint().clone()).collect()
    }

    /// Spawns the tasks of the pipes on the current thread's `LocalRuntime`; [`crate::worker::start`] calls this.
    ///
    /// # Panics
    /// Outside a `LocalRuntime`.
    #[must_use]
    pub fn start(self) -> Bus {
        Bus::start(self)
    }
}
