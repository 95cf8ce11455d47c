//! The admin listener: the questions of operators and orchestrators, on the control thread.
//!
//! Owns: the listener and its bounds. Leaves the paths to `desk`, and their answers to `report` and
//! `metrics`. Invariant: a question costs a worker a few microseconds; only `POST /log` changes
//! anything, beside what a role's own paths do.

mod answer;
mod desk;
pub mod extension;
mod rates;
mod report;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bus::OwnsFile;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};

use crate::address::Address;
use crate::observer::Observer;
use crate::sockets::{Inherited, Kind};
use crate::unix::{self, SocketFile};
use desk::Desk;
use extension::Extension;

/// Connections at once: an operator, a probe, a dashboard. Above it the oldest is closed for a new
/// one, so that clients that keep connections open do not keep a probe of `/ready` out.
const CONNECTIONS: usize = 64;

/// The time of one connection, from accept to its last byte: none keeps one of the few places.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of a request's head.
const HEAD_BYTES: usize = 8 << 10;

/// Pause after an accept that failed for want of descriptors or memory: an immediate retry would
/// fail again and spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A Unix socket is its owner's alone: the operator, or a group by way of the directory.
const SOCKET_MODE: u32 = 0o600;

/// A bound listener.
#[derive(Debug)]
pub struct Admin {
    socket: Socket,
    address: Address,
    file: Option<SocketFile>,
}

/// A listening socket, non-blocking.
#[derive(Debug)]
enum Socket {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

impl Admin {
    /// Binds.
    ///
    /// # Errors
    /// When the address cannot be bound; the caller names it.
    pub fn bind(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => Self::new(Socket::Tcp(std::net::TcpListener::bind(address)?), None),
            Address::Unix(path) => {
                let (socket, file) = unix::bind(path, SOCKET_MODE)?;
                Self::new(Socket::Unix(socket), Some(file))
            }
        }
    }

    /// Takes a socket that listens already: from systemd, or from the process before.
    ///
    /// # Errors
    /// When it is neither TCP nor a Unix socket with a path.
    pub fn adopt(inherited: Inherited) -> io::Result<Self> {
        match Address::of(&inherited.socket)? {
            Address::Tcp(_) => Self::new(Socket::Tcp(inherited.socket.into()), None),
            Address::Unix(path) => {
                let file = SocketFile::adopt(&path, inherited.owns_file);
                Self::new(Socket::Unix(inherited.socket.into()), Some(file))
            }
        }
    }

    /// A duplicate of the socket for the process that comes next; `flag` is the value of `--admin`.
    ///
    /// # Errors
    /// When the process may not have more open files.
    pub fn duplicate(&self, flag: &Address) -> io::Result<Inherited> {
        let socket = match &self.socket {
            Socket::Tcp(listener) => listener.try_clone()?.into(),
            Socket::Unix(listener) => listener.try_clone()?.into(),
        };
        let owns_file = self.file.as_ref().map_or_else(|| OwnsFile::new(true), SocketFile::owner);
        Ok(Inherited { kind: Some(Kind::Admin), flag: Some(flag.to_string()), owns_file, socket })
    }

    fn new(socket: Socket, file: Option<SocketFile>) -> io::Result<Self> {
        let address = match &socket {
            Socket::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                Address::Tcp(listener.local_addr()?)
            }
            Socket::Unix(listener) => {
                listener.set_nonblocking(true)?;
                let address = listener.local_addr()?;
                Address::Unix(address.as_pathname().unwrap_or("".as_ref()).to_owned())
            }
        };
        Ok(Self { socket, address, file })
    }

    /// The address, with the port that the system chose.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Starts answering, with the paths of `extension` beside those of every role; inside a
    /// `LocalRuntime`.
    ///
    /// # Errors
    /// When the runtime cannot watch the socket.
    pub fn serve<S: 'static>(
        self,
        observer: Rc<Observer<S>>,
        extension: Option<Extension>,
    ) -> io::Result<Serving> {
        let (release, released) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let desk = Rc::new(Desk::new(Rc::clone(&observer), extension));
        let task = match self.socket {
            Socket::Tcp(listener) => {
                let listener = TcpListener::from_std(listener)?;
                tokio::task::spawn_local(run(listener, desk, released, stopped))
            }
            Socket::Unix(listener) => {
                let listener = UnixListener::from_std(listener)?;
                tokio::task::spawn_local(run(listener, desk, released, stopped))
            }
        };
        let set_draining = Box::new(move || observer.set_draining());
        Ok(Serving { task, set_draining, release: Some(release), stop, file: self.file })
    }
}

/// The listener at work.
pub struct Serving {
    task: JoinHandle<()>,
    set_draining: Box<dyn Fn()>,
    release: Option<oneshot::Sender<()>>,
    stop: oneshot::Sender<()>,
    file: Option<SocketFile>,
}

impl Serving {
    /// From now on `/ready` says no.
    pub fn set_draining(&self) {
        (self.set_draining)();
    }

    /// Closes the listener and removes its file; connections that are open are still served.
    pub fn release(&mut self) {
        self.release = None;
        self.file = None;
    }

    /// Leaves the file in place: another process has the socket now.
    pub fn keep_file(&mut self) {
        if let Some(file) = self.file.take() {
            file.keep();
        }
    }

    /// Ends it, with every connection. The observer is not held any more after it.
    pub async fn stop(self) {
        drop(self.stop);
        if self.task.await.is_err() {
            tracing::error!("the admin listener panicked");
        }
    }
}

impl std::fmt::Debug for Serving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serving").field("file", &self.file).finish_non_exhaustive()
    }
}

/// Either kind of listener.
trait Accept {
    type Stream: AsyncRead + AsyncWrite + Unpin + 'static;

    async fn accept(&self) -> io::Result<Self::Stream>;
}

impl Accept for TcpListener {
    type Stream = tokio::net::TcpStream;

    async fn accept(&self) -> io::Result<Self::Stream> {
        Self::accept(self).await.map(|(stream, _)| stream)
    }
}

impl Accept for UnixListener {
    type Stream = tokio::net::UnixStream;

    async fn accept(&self) -> io::Result<Self::Stream> {
        Self::accept(self).await.map(|(stream, _)| stream)
    }
}

async fn run<L: Accept, S: 'static>(
    listener: L,
    desk: Rc<Desk<S>>,
    released: oneshot::Receiver<()>,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut connections = JoinSet::new();
    tokio::select! {
        () = accept(&listener, &desk, &mut connections) => {}
        _ = released => {}
        _ = &mut stopped => {}
    }
    drop(listener);
    tokio::select! {
        () = async { while connections.join_next().await.is_some() {} } => {}
        _ = stopped => {}
    }
    connections.shutdown().await;
}

async fn accept<L: Accept, S: 'static>(listener: &L, desk: &Rc<Desk<S>>, connections: &mut JoinSet<()>) {
    let mut looks = rates::looks();
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            _ = looks.tick() => {
                let desk = Rc::clone(desk);
                connections.spawn_local(async move { desk.look().await });
                continue;
            }
        };
        match accepted {
            Ok(stream) => {
                open.retain(|connection| !connection.is_finished());
                if open.len() >= CONNECTIONS
                    && let Some(oldest) = open.pop_front()
                {
                    tracing::debug!("admin: above {CONNECTIONS} connections: the oldest is closed");
                    oldest.abort();
                }
                open.push_back(connections.spawn_local(serve(stream, Rc::clone(desk))));
            }
            Err(error) => {
                tracing::warn!(%error, "admin: accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve<S: 'static>(stream: impl AsyncRead + AsyncWrite + Unpin, desk: Rc<Desk<S>>) {
    let service = service_fn(move |request| {
        let desk = Rc::clone(&desk);
        async move { Ok::<_, Infallible>(desk.answer(request).await) }
    });
    let mut http = http1::Builder::new();
    http.header_read_timeout(None).max_buf_size(HEAD_BYTES);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    // A connection that takes longer, or breaks off, is its client's affair.
    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await;
}
