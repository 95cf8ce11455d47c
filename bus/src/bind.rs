//! Binding: configuration errors are reported here, before a thread starts.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use bus_proto::{Hello, Limits, Origin};

use crate::io::endpoint::Endpoint;
use crate::io::file::OwnsFile;
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

/// A listening socket that another process has bound: a service manager, or a predecessor.
#[derive(Debug)]
pub struct Inherited {
    /// The socket, TCP or Unix.
    pub socket: OwnedFd,
    /// True when the file of a Unix socket is to be removed once the bus stops listening.
    pub owns_file: OwnsFile,
}

/// Binds every listener of `config` and makes a seed for each of `workers` workers.
///
/// # Errors
/// [`BindError`] names the endpoint that cannot be bound. All listeners are then closed again.
pub fn bind(config: &Config, workers: usize) -> Result<Vec<Seed>, BindError> {
    bind_with(config, workers, Vec::new())
}

/// As [`bind`], but for the listeners that are there already: the `n`-th of `inherited` is what
/// `config.listen[n]` would bind. `None`, and a missing end, are bound.
///
/// # Errors
/// As [`bind`].
pub fn bind_with(
    config: &Config,
    workers: usize,
    inherited: Vec<Option<Inherited>>,
) -> Result<Vec<Seed>, BindError> {
    let last =
        workers.checked_sub(1).and_then(|last| u8::try_from(last).ok()).ok_or(BindError::Workers(workers))?;
    let listen = |(listen, inherited): (&Listen, Option<Inherited>)| {
        let failed = |source| BindError::Listen { endpoint: listen.endpoint.clone(), source };
        let listener = match inherited {
            Some(Inherited { socket, owns_file }) => Listener::adopt(listen, socket, owns_file),
            None => Listener::bind(listen),
        };
        listener.map(Arc::new).map_err(failed)
    };
    let inherited = inherited.into_iter().chain(std::iter::repeat_with(|| None));
    let listeners = config.listen.iter().zip(inherited).map(listen).collect::<Result<Vec<_>, _>>()?;
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
    /// Duplicates of the listening sockets, for a process that is to listen there next: the `n`-th
    /// is that of `Config::listen[n]`, `None` for one within the process.
    ///
    /// # Errors
    /// When the process may not have more open files.
    pub fn sockets(&self) -> io::Result<Vec<Option<Inherited>>> {
        let duplicate = |listener: &Arc<Listener>| {
            let socket = listener.duplicate()?;
            Ok(socket.map(|(socket, owns_file)| Inherited { socket, owns_file }))
        };
        self.listeners.iter().map(duplicate).collect()
    }

    /// The endpoints that this bus listens on. Ports that the system chose are filled in.
    #[must_use]
    pub fn listening(&self) -> Vec<Endpoint> {
        self.listeners.iter().map(|listener| listener.endpoint().clone()).collect()
    }
}
