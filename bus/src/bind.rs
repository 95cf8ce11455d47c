//! Binding: configuration errors are reported here, before a thread starts.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bus_proto::{Hello, Limits, Origin};

use crate::io::endpoint::Endpoint;
use crate::io::listen::Listen;
use crate::io::listener::Listener;
use crate::io::transport::Keepalive;
use crate::state::inboxes::Inboxes;
use crate::state::places::Places;

/// The configuration of a process's bus.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Where to listen, and which claims are accepted there.
    pub listen: Vec<Listen>,
    /// The endpoints to dial. Every worker dials every one of them.
    pub dial: Vec<Endpoint>,
    /// The bounds.
    pub limits: Limits,
    /// TCP keepalive.
    pub keepalive: Keepalive,
    /// The hello that is sent on every new pipe; `None` for a process that serves no requests.
    pub hello: Option<Hello>,
    /// True to relay events to the peers whose hello names their topic, as the terminator does.
    pub relay_events: bool,
    /// Upper bound of the process's pipes, including those that it dials. Above it, a peer that
    /// dials in replaces the oldest peer that has sent no message, or is refused. `None`: an eighth
    /// of the files that the process may open, at most 4096.
    pub pipes_max: Option<usize>,
    /// How long a worker with a few outstanding requests polls its sockets before it sleeps; zero
    /// to sleep at once.
    pub busy_poll: Duration,
}

/// Why a bus cannot be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// An endpoint cannot be listened on.
    #[error("cannot listen on {endpoint}")]
    Listen {
        /// The endpoint.
        endpoint: Endpoint,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The number of workers is 0 or greater than a request id can express.
    #[error("{0} workers: the number must be from 1 to 256")]
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

/// One worker's part of a bound bus. It is started on the worker's thread.
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

/// Binds every listener of `config` and makes a seed for each of `workers` workers.
///
/// # Errors
/// [`BindError`] names the endpoint that cannot be bound. All listeners are then closed again.
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
    /// The endpoints that this bus listens on. Ports that the system chose are filled in.
    #[must_use]
    pub fn listening(&self) -> Vec<Endpoint> {
        self.listeners.iter().map(|listener| listener.endpoint().clone()).collect()
    }
}
