//! Listening: one socket per endpoint, shared by the workers, each with its own accept loop.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, warn};

use crate::bus::Inner;
use crate::endpoint::Endpoint;
use crate::inproc;
use crate::pipe;
use crate::transport::Transport;

/// How long accepting pauses when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Pipes one worker holds at most; each costs some KiB, and a descriptor.
pub(crate) const PIPES_MAX: usize = 4096;

/// A bound endpoint.
pub(crate) struct Listener {
    endpoint: Endpoint,
    socket: Socket,
}

enum Socket {
    Tcp(std::net::TcpListener),
    Ipc(UnixListener, PathBuf),
    Inproc(inproc::Listener),
}

impl Listener {
    pub(crate) fn bind(endpoint: &Endpoint) -> io::Result<Self> {
        let mut endpoint = endpoint.clone();
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
                let listener = UnixListener::bind(&*path)?;
                listener.set_nonblocking(true)?;
                Socket::Ipc(listener, path.clone())
            }
            Endpoint::Inproc(name) => Socket::Inproc(inproc::Listener::bind(name)?),
        };
        Ok(Self { endpoint, socket })
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
            Ok((transport, from)) if inner.node.borrow().socket.len() < PIPES_MAX => {
                tokio::task::spawn_local(serve(Rc::clone(inner), transport, from));
            }
            Ok((_, from)) => {
                inner.node.borrow_mut().counters.pipes_refused += 1;
                debug!(%from, limit = PIPES_MAX, "refused: too many pipes");
            }
            Err(error) => {
                warn!(endpoint = %listener.endpoint, %error, "cannot accept, pausing");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(inner: Rc<Inner>, transport: Transport, from: String) {
    pipe::run(&inner, transport, from, None).await;
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
