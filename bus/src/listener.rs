//! Listening: one socket per endpoint, shared by the workers, each with its own accept loop.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bus_proto::Claims;
use socket2::{Domain, SockAddr, Type};
use tracing::warn;

use crate::bus::Inner;
use crate::endpoint::Endpoint;
use crate::inproc;
use crate::listen::{FileAccess, Listen};
use crate::pipe::{self, Peer};
use crate::transport::Transport;

/// How long accepting pauses when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections to an `ipc` endpoint that wait to be accepted.
const BACKLOG: i32 = 128;

/// A bound endpoint.
pub(crate) struct Listener {
    endpoint: Endpoint,
    socket: Socket,
    /// `None` is everything.
    claims: Option<Arc<Claims>>,
}

enum Socket {
    Tcp(std::net::TcpListener),
    Ipc(UnixListener, PathBuf),
    Inproc(inproc::Listener),
}

impl Listener {
    pub(crate) fn bind(listen: &Listen) -> io::Result<Self> {
        let mut endpoint = listen.endpoint.clone();
        let socket = match &mut endpoint {
            Endpoint::Tcp { host, port } => {
                let address = if host == "*" { "0.0.0.0" } else { host.as_str() };
                let listener = std::net::TcpListener::bind((address, *port))?;
                listener.set_nonblocking(true)?;
                *port = listener.local_addr()?.port();
                Socket::Tcp(listener)
            }
            Endpoint::Ipc(path) => {
                remove_stale(path)?;
                let listener = listen_at(path, listen.file)?;
                listener.set_nonblocking(true)?;
                Socket::Ipc(listener, path.clone())
            }
            Endpoint::Inproc(name) => Socket::Inproc(inproc::Listener::bind(name)?),
        };
        let claims = (!listen.claims.is_empty()).then(|| Arc::new(listen.claims.clone()));
        Ok(Self { endpoint, socket, claims })
    }

    pub(crate) const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Socket::Ipc(_, path) = &self.socket {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Listens at `path` with the mode and owner of `access`. Nobody can connect before they are set: a socket
/// that does not listen yet refuses.
fn listen_at(path: &Path, access: FileAccess) -> io::Result<UnixListener> {
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let set = || {
        if let Some(mode) = access.mode {
            std::fs::set_permissions(path, Permissions::from_mode(mode))?;
        }
        if access.user.is_some() || access.group.is_some() {
            std::os::unix::fs::chown(path, access.user, access.group)?;
        }
        socket.listen(BACKLOG)
    };
    set().inspect_err(|_| drop(std::fs::remove_file(path)))?;
    Ok(socket.into())
}

/// A socket file that nobody listens on any more is left over from a process that was killed: it is removed, as
/// `sp-ipc-mapping-01` asks. One that answers belongs to somebody.
fn remove_stale(path: &Path) -> io::Result<()> {
    match UnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there")),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "a file that is no socket is there",
                ));
            }
            std::fs::remove_file(path)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Accepts for one worker until its bus drains. The socket is closed when no worker accepts any more.
pub(crate) async fn accept(inner: Rc<Inner>, listener: Arc<Listener>) {
    let mut drains = inner.drains.subscribe();
    // Also ends a pause: a worker that woke from it during the drain would accept somebody whom
    // nobody will serve.
    tokio::select! {
        biased;
        _ = drains.wait_for(|drains| *drains) => {}
        () = accept_all(&inner, &listener) => {}
    }
}

async fn accept_all(inner: &Rc<Inner>, listener: &Listener) {
    let mut accepting = match Accepting::new(listener) {
        Ok(accepting) => accepting,
        Err(error) => return warn!(endpoint = %listener.endpoint, %error, "cannot accept"),
    };
    loop {
        match accepting.next(inner).await {
            Ok((transport, from)) if inner.places.has_room() || inner.evict_silent() => {
                let peer =
                    Peer { from, dialled: None, claims: listener.claims.clone(), place: inner.places.take() };
                tokio::task::spawn_local(serve(Rc::clone(inner), transport, peer));
            }
            Ok((_, from)) => {
                let counters = &mut inner.node.borrow_mut().counters;
                counters.pipes_refused += 1;
                let (refused, limit) = (counters.pipes_refused, inner.places.max());
                // Said less and less often: whoever is refused comes again.
                if refused.is_power_of_two() {
                    warn!(endpoint = %listener.endpoint, %from, limit, refused, "too many pipes: a peer was refused");
                }
            }
            Err(error) => {
                warn!(endpoint = %listener.endpoint, %error, "cannot accept, pausing");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(inner: Rc<Inner>, transport: Transport, peer: Peer) {
    pipe::run(&inner, transport, peer).await;
}

/// One worker's view of a listener.
enum Accepting<'a> {
    Tcp(tokio::net::TcpListener),
    Ipc(tokio::net::UnixListener, &'a Path),
    Inproc(&'a inproc::Listener),
}

impl<'a> Accepting<'a> {
    fn new(listener: &'a Listener) -> io::Result<Self> {
        Ok(match &listener.socket {
            Socket::Tcp(socket) => Self::Tcp(tokio::net::TcpListener::from_std(socket.try_clone()?)?),
            Socket::Ipc(socket, path) => {
                Self::Ipc(tokio::net::UnixListener::from_std(socket.try_clone()?)?, path)
            }
            Socket::Inproc(listener) => Self::Inproc(listener),
        })
    }

    async fn next(&mut self, inner: &Inner) -> io::Result<(Transport, String)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok((Transport::tcp(stream, inner.config.keepalive)?, format!("tcp://{address}")))
            }
            Self::Ipc(listener, path) => {
                let (stream, _) = listener.accept().await?;
                Ok((Transport::unix(stream.into_std()?)?, format!("ipc://{}", path.display())))
            }
            Self::Inproc(listener) => Ok((listener.accept().await?, format!("inproc://{}", listener.name()))),
        }
    }
}
