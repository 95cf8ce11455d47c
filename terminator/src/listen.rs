//! Listeners: bound or inherited before any thread starts, accepting on the workers.
//!
//! Owns: sockets from bind to accept, the files of Unix sockets. Leaves what happens on a
//! connection to `connection`. Invariant: an address that another process serves is refused, never
//! shared by accident.

mod congestion;

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::pin::pin;

use bus::OwnsFile;
use role::address::Address;
use role::sockets::{Inherited, Kind};
use role::unix::{self, SocketFile};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

pub use congestion::check as check_congestion;

use crate::config::{Config, Congestion};
use crate::connection::Peer;
use crate::limits;
use crate::serve::{Server, Stream};

/// One address, bound.
#[derive(Debug)]
pub struct Bound {
    /// The address as bound, its port chosen.
    pub address: Address,
    /// The socket's file, removed when dropped.
    pub file: Option<SocketFile>,
    /// With TCP one per worker when it was bound here; any number otherwise, see [`share`].
    pub sockets: Vec<Unstarted>,
}

/// A bound listener that may still change threads.
#[derive(Debug)]
pub enum Unstarted {
    /// TCP.
    Tcp(StdTcpListener),
    /// Unix.
    Unix(StdUnixListener),
}

/// Binds `address` for `workers` workers.
///
/// # Errors
/// When it cannot be bound; the caller names the address.
pub fn bind(address: &Address, workers: usize, congestion: &Congestion) -> io::Result<Bound> {
    match address {
        Address::Tcp(address) => bind_tcp(*address, workers, congestion),
        Address::Unix(path) => {
            let (listener, file) = unix::bind(path, limits::SOCKET_MODE)?;
            let (address, sockets) = (address.clone(), vec![Unstarted::Unix(listener)]);
            Ok(Bound { address, file: Some(file), sockets })
        }
    }
}

/// Listens on sockets that another process has bound, at least one; they have one address.
///
/// # Errors
/// When one of them is neither TCP nor Unix.
///
/// # Panics
/// Without a socket.
pub fn adopt(inherited: Vec<Inherited>, congestion: &Congestion) -> io::Result<Bound> {
    let owns_file = inherited[0].owns_file.clone();
    let address = Address::of(&inherited[0].socket)?;
    let file = match &address {
        Address::Unix(path) => Some(SocketFile::adopt(path, owns_file)),
        Address::Tcp(_) => None,
    };
    let adopt = |Inherited { socket, .. }| {
        let socket = Socket::from(socket);
        socket.set_nonblocking(true)?;
        Ok(match &address {
            Address::Tcp(address) => {
                congestion::choose(&socket, address.ip(), congestion)?;
                Unstarted::Tcp(socket.into())
            }
            Address::Unix(_) => Unstarted::Unix(socket.into()),
        })
    };
    let sockets = inherited.into_iter().map(adopt).collect::<io::Result<_>>()?;
    Ok(Bound { address, file, sockets })
}

impl Bound {
    /// Duplicates of the sockets, for a process that is to listen there next; `flag` is what it was
    /// asked for by.
    ///
    /// # Errors
    /// When the process may not have more open files.
    pub fn duplicates(&self, flag: &str) -> io::Result<Vec<Inherited>> {
        let duplicate = |socket: &Unstarted| {
            let socket = match socket {
                Unstarted::Tcp(socket) => OwnedFd::from(socket.try_clone()?),
                Unstarted::Unix(socket) => socket.try_clone()?.into(),
            };
            let owns_file = self.file.as_ref().map_or_else(|| OwnsFile::new(true), SocketFile::owner);
            Ok(Inherited { kind: Some(Kind::Http), flag: Some(flag.to_owned()), owns_file, socket })
        };
        self.sockets.iter().map(duplicate).collect()
    }
}

/// The sockets of each of `workers` workers. When there are fewer sockets than workers, some have
/// duplicates of the same one and the kernel wakes which it likes. When there are more, some
/// workers have several: connections that wait in any of them are accepted.
///
/// # Errors
/// When the process may not have more open files.
pub fn share(sockets: Vec<Unstarted>, workers: usize) -> io::Result<Vec<Vec<Unstarted>>> {
    let mut of_workers: Vec<Vec<Unstarted>> = (0..workers).map(|_| Vec::new()).collect();
    for at in sockets.len()..workers {
        of_workers[at].push(sockets[at % sockets.len()].try_clone()?);
    }
    for (at, socket) in sockets.into_iter().enumerate() {
        of_workers[at % workers].push(socket);
    }
    Ok(of_workers)
}

fn bind_tcp(address: SocketAddr, workers: usize, congestion: &Congestion) -> io::Result<Bound> {
    let shared = workers > 1;
    if shared && address.port() != 0 {
        // SO_REUSEPORT would let a second process of the same user in on the port, each with half
        // of the clients. A plain bind says whether somebody has it.
        tcp_socket(address, false)?;
    }
    let first = tcp_listener(address, shared, congestion)?;
    let address = first.local_addr()?;
    let mut sockets = vec![Unstarted::Tcp(first)];
    for _ in 1..workers {
        sockets.push(Unstarted::Tcp(tcp_listener(address, shared, congestion)?));
    }
    Ok(Bound { address: Address::Tcp(address), file: None, sockets })
}

fn tcp_socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of a former run in TIME_WAIT do not keep the port.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn tcp_listener(address: SocketAddr, shared: bool, congestion: &Congestion) -> io::Result<StdTcpListener> {
    let socket = tcp_socket(address, shared)?;
    congestion::choose(&socket, address.ip(), congestion)?;
    socket.listen(limits::BACKLOG)?;
    Ok(socket.into())
}

/// A listener on its worker.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// Unix.
    Unix(UnixListener),
}

impl Unstarted {
    fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(socket) => socket.try_clone().map(Self::Tcp),
            Self::Unix(socket) => socket.try_clone().map(Self::Unix),
        }
    }

    /// Registers the socket with the current runtime.
    ///
    /// # Errors
    /// When the runtime's driver refuses it.
    pub fn start(self) -> io::Result<Listener> {
        match self {
            Self::Tcp(listener) => TcpListener::from_std(listener).map(Listener::Tcp),
            Self::Unix(listener) => UnixListener::from_std(listener).map(Listener::Unix),
        }
    }
}

impl Listener {
    /// Accepts until the worker is told to stop, then takes the connections that the system has
    /// accepted already, which may have a request. tokio's budget lets other tasks run in a flood.
    pub async fn accept(self, server: Server) {
        let worker = &server.worker;
        let mut stopped = pin!(worker.accepting.notified());
        let mut failing = false;
        // A worker that was told before it got here is told no more.
        while !worker.draining() {
            let accepted = tokio::select! {
                accepted = self.accept_one(&worker.config) => accepted,
                () = &mut stopped => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    failing = false;
                    server.open(stream, peer);
                }
                Err(error) if is_the_clients(&error) => worker.stats.accept_failed.increment(),
                Err(error) => {
                    worker.stats.accept_failed.increment();
                    // Said once, not twenty times a second.
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(worker = worker.id, %error, "accept fails; is the limit of open files too low?");
                    }
                    tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                }
            }
        }
        if let Err(error) = self.accept_rest(&server) {
            tracing::warn!(worker = worker.id, %error, "connections that were waiting are lost");
        }
    }

    async fn accept_one(&self, config: &Config) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp(listener) => of_tcp(listener.accept().await?, config),
            Self::Unix(listener) => Ok(of_unix(listener.accept().await?.0, config)),
        }
    }

    /// Without the driver, which may not have heard of all.
    fn accept_rest(self, server: &Server) -> io::Result<()> {
        let worker = &server.worker;
        let listener = match self {
            Self::Tcp(listener) => Unstarted::Tcp(listener.into_std()?),
            Self::Unix(listener) => Unstarted::Unix(listener.into_std()?),
        };
        loop {
            let accepted = match &listener {
                Unstarted::Tcp(listener) => listener.accept().and_then(|(stream, peer)| {
                    stream.set_nonblocking(true)?;
                    of_tcp((TcpStream::from_std(stream)?, peer), &worker.config)
                }),
                Unstarted::Unix(listener) => listener.accept().and_then(|(stream, _)| {
                    stream.set_nonblocking(true)?;
                    Ok(of_unix(UnixStream::from_std(stream)?, &worker.config))
                }),
            };
            match accepted {
                Ok((stream, peer)) => server.open(stream, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if is_the_clients(&error) => worker.stats.accept_failed.increment(),
                Err(error) => return Err(error),
            }
        }
    }
}

fn of_tcp((stream, peer): (TcpStream, SocketAddr), config: &Config) -> io::Result<(Stream, Peer)> {
    // Responses are written whole; waiting for more would only delay them.
    stream.set_nodelay(true)?;
    Ok((Stream::Tcp(stream), Peer::tcp(peer, config)))
}

fn of_unix(stream: UnixStream, config: &Config) -> (Stream, Peer) {
    (Stream::Unix(stream), Peer::unix(config))
}

/// The client left between connect and accept.
fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::InvalidInput
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_gets_a_socket_on_the_same_port() {
        let bound = bind(&"127.0.0.1:0".parse().unwrap(), 3, &Congestion::Auto).unwrap();
        let ports: Vec<_> = bound
            .sockets
            .iter()
            .map(|socket| match socket {
                Unstarted::Tcp(listener) => listener.local_addr().unwrap(),
                Unstarted::Unix(_) => unreachable!("TCP was asked for"),
            })
            .collect();
        assert_eq!(ports.len(), 3);
        assert!(ports.iter().all(|port| Address::Tcp(*port) == bound.address));
    }

    #[test]
    fn every_socket_is_accepted_from_and_every_worker_has_one() {
        for (sockets, workers, wanted) in [(3, 2, vec![2, 1]), (1, 3, vec![1, 1, 1]), (2, 2, vec![1, 1])] {
            let bound = bind(&"127.0.0.1:0".parse().unwrap(), sockets, &Congestion::Auto).unwrap();
            let shared = share(bound.sockets, workers).unwrap();
            assert_eq!(shared.iter().map(Vec::len).collect::<Vec<_>>(), wanted);
        }
    }

    #[test]
    fn a_port_that_is_served_is_refused_with_one_worker_and_with_several() {
        for workers in [1, 2] {
            let bound = bind(&"127.0.0.1:0".parse().unwrap(), workers, &Congestion::Auto).unwrap();
            for others in [1, 2] {
                assert_eq!(
                    bind(&bound.address, others, &Congestion::Auto).unwrap_err().kind(),
                    io::ErrorKind::AddrInUse,
                    "{workers} {others}"
                );
            }
        }
    }
}
