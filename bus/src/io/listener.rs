//! Listening: one bound socket per endpoint, shared by the workers, and each worker's handle to it.

use std::fs::Permissions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bus_proto::Claims;
use socket2::{Domain, SockAddr, SockRef, Type};

use crate::io::endpoint::Endpoint;
use crate::io::file::OwnsFile;
use crate::io::inproc;
use crate::io::listen::{FileAccess, Listen};
use crate::io::transport::{Keepalive, Transport};

/// Length of the queue of connections to an `ipc` endpoint that wait to be accepted.
const BACKLOG: i32 = 128;

/// A bound endpoint.
pub(crate) struct Listener {
    endpoint: Endpoint,
    socket: Socket,
    /// `None` accepts every claim.
    claims: Option<Arc<Claims>>,
    owns_file: OwnsFile,
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
        Ok(Self { endpoint, socket, claims, owns_file: OwnsFile::new(true) })
    }

    /// Listens on a socket that another process has bound. Its address counts, not that of
    /// `listen`; the file of a Unix socket is removed in the end if `owns_file` says so then.
    pub(crate) fn adopt(listen: &Listen, socket: OwnedFd, owns_file: OwnsFile) -> io::Result<Self> {
        let address = SockRef::from(&socket).local_addr()?;
        let (endpoint, socket) = if let Some(path) = address.as_pathname() {
            let listener = UnixListener::from(socket);
            listener.set_nonblocking(true)?;
            (Endpoint::Ipc(path.to_owned()), Socket::Ipc(listener, path.to_owned()))
        } else if let Some(address) = address.as_socket() {
            let listener = std::net::TcpListener::from(socket);
            listener.set_nonblocking(true)?;
            let (host, port) = (address.ip().to_string(), address.port());
            (Endpoint::Tcp { host, port }, Socket::Tcp(listener))
        } else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither TCP nor a Unix socket's path"));
        };
        let claims = (!listen.claims.is_empty()).then(|| Arc::new(listen.claims.clone()));
        Ok(Self { endpoint, socket, claims, owns_file })
    }

    /// A duplicate of the socket, and who removes its file in the end; `None` within the process.
    pub(crate) fn duplicate(&self) -> io::Result<Option<(OwnedFd, OwnsFile)>> {
        let owns_file = self.owns_file.clone();
        Ok(match &self.socket {
            Socket::Tcp(socket) => Some((socket.try_clone()?.into(), owns_file)),
            Socket::Ipc(socket, _) => Some((socket.try_clone()?.into(), owns_file)),
            Socket::Inproc(_) => None,
        })
    }

    pub(crate) const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Closes the connections that wait to be accepted.
    pub(crate) fn refuse_waiting(&self) {
        match &self.socket {
            Socket::Tcp(socket) => while socket.accept().is_ok() {},
            Socket::Ipc(socket, _) => while socket.accept().is_ok() {},
            Socket::Inproc(_) => {}
        }
    }

    /// Leaves the socket's file to another process, which has got the socket.
    pub(crate) fn leave_file(&self) {
        self.owns_file.set(false);
    }

    /// The accepted claims of peers that dial in here; `None` accepts every claim.
    pub(crate) const fn claims(&self) -> Option<&Arc<Claims>> {
        self.claims.as_ref()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Socket::Ipc(_, path) = &self.socket
            && self.owns_file.get()
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Listens at `path` with the mode and owner of `access`. They are set before `listen`, and a
/// socket that does not listen refuses connections, so no peer can connect with the wrong
/// permissions.
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

/// Removes the socket file of a process that was killed, as `sp-ipc-mapping-01` asks. A socket that
/// accepts a connection belongs to a running process and is an error.
fn remove_stale(path: &Path) -> io::Result<()> {
    match UnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process is listening there")),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "the file exists and is not a socket",
                ));
            }
            std::fs::remove_file(path)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// One worker's handle to a listener.
pub(crate) enum Accepting<'a> {
    Tcp(tokio::net::TcpListener),
    Ipc(tokio::net::UnixListener, &'a Path),
    Inproc(&'a inproc::Listener),
}

impl<'a> Accepting<'a> {
    pub(crate) fn new(listener: &'a Listener) -> io::Result<Self> {
        Ok(match &listener.socket {
            Socket::Tcp(socket) => Self::Tcp(tokio::net::TcpListener::from_std(socket.try_clone()?)?),
            Socket::Ipc(socket, path) => {
                Self::Ipc(tokio::net::UnixListener::from_std(socket.try_clone()?)?, path)
            }
            Socket::Inproc(listener) => Self::Inproc(listener),
        })
    }

    /// The next connection, and its origin as text.
    pub(crate) async fn next(&mut self, keepalive: Keepalive) -> io::Result<(Transport, String)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok((Transport::tcp(stream, keepalive)?, format!("tcp://{address}")))
            }
            Self::Ipc(listener, path) => {
                let (stream, _) = listener.accept().await?;
                Ok((Transport::unix(stream.into_std()?)?, format!("ipc://{}", path.display())))
            }
            Self::Inproc(listener) => {
                Ok((Transport::unix(listener.accept().await)?, format!("inproc://{}", listener.name())))
            }
        }
    }
}
