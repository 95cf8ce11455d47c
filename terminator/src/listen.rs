//! Listeners: bound before any thread starts, one per worker and address, accepting on the worker.
//!
//! Owns: sockets from bind to accept, the files of Unix sockets. Does not: what happens on a
//! connection (`connection`). Invariant: an address that another process serves is refused, never
//! shared by accident.

mod congestion;
mod unix;

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::pin::pin;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

pub use congestion::check as check_congestion;
pub use unix::SocketFile;

use crate::config::{Config, Congestion, HttpAddress};
use crate::connection::Peer;
use crate::limits;
use crate::serve::{Server, Stream};

/// One address, bound for every worker.
#[derive(Debug)]
pub struct Bound {
    /// The address as bound, its port chosen.
    pub address: HttpAddress,
    /// The socket's file, removed when dropped.
    pub file: Option<SocketFile>,
    /// One per worker.
    pub sockets: Vec<Unstarted>,
}

/// A bound listener that may still change threads.
#[derive(Debug)]
pub enum Unstarted {
    /// TCP.
    Tcp(StdTcpListener),
    /// Unix; every worker has a duplicate of one socket, the kernel wakes whom it likes.
    Unix(StdUnixListener),
}

/// Binds `address` for `workers` workers.
///
/// # Errors
/// When it cannot be bound; the caller names the address.
pub fn bind(address: &HttpAddress, workers: usize, congestion: &Congestion) -> io::Result<Bound> {
    match address {
        HttpAddress::Tcp(address) => bind_tcp(*address, workers, congestion),
        HttpAddress::Unix(path) => {
            let (listener, file) = unix::bind(path)?;
            let sockets = (0..workers).map(|_| listener.try_clone().map(Unstarted::Unix));
            Ok(Bound {
                address: address.clone(),
                file: Some(file),
                sockets: sockets.collect::<Result<_, _>>()?,
            })
        }
    }
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
    Ok(Bound { address: HttpAddress::Tcp(address), file: None, sockets })
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
        assert!(ports.iter().all(|port| HttpAddress::Tcp(*port) == bound.address));
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
