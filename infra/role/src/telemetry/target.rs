//! The address of a statsd daemon, and a socket that reaches it.
//!
//! Owns: looking the name up, now and again later, and the choice among its addresses. Invariant:
//! every address that a look-up returns can be reached by the socket, whichever family it is of; a
//! name may move from IPv4 to IPv6 and back.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{Domain, Socket, Type};

/// Where packets go while the name has no address: nothing listens there, and nothing leaves the
/// machine (RFC 863).
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

/// HOST:PORT, and what the socket for it can reach.
#[derive(Debug)]
pub(super) struct Target {
    text: String,
    /// True when the socket is an IPv6 one that reaches IPv4 too, by mapped addresses.
    dual: bool,
    /// The name has had an address.
    found: AtomicBool,
}

impl Target {
    /// Looks the name up, so it may block. A name without an address is no error.
    ///
    /// # Errors
    /// When the system gives no socket.
    pub(super) fn resolve(text: &str) -> io::Result<(Self, UdpSocket)> {
        let (socket, dual) = match dual_socket() {
            Ok(socket) => (socket, true),
            // A system without IPv6.
            Err(_) => (UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?, false),
        };
        socket.set_nonblocking(true)?;
        let target = Self { text: text.to_owned(), dual, found: AtomicBool::new(false) };
        let found = match text.to_socket_addrs() {
            Ok(addresses) => !target.reachable(addresses).is_empty(),
            Err(error) => {
                tracing::warn!(target = text, %error, "statsd: nothing is sent until the name has an address");
                false
            }
        };
        target.found.store(found, Ordering::Relaxed);
        Ok((target, socket))
    }

    /// The addresses in the form that the socket takes. IPv4 goes first: statsd listens there by
    /// default, while `localhost` is `::1` first on many systems.
    fn reachable(&self, addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
        let (v4, v6): (Vec<_>, Vec<_>) = addresses.partition(SocketAddr::is_ipv4);
        if !self.dual {
            return v4;
        }
        v4.into_iter().map(mapped).chain(v6).collect()
    }
}

impl ToSocketAddrs for Target {
    type Iter = std::vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        let addresses = self.text.to_socket_addrs().map(|addresses| self.reachable(addresses));
        match addresses {
            Ok(addresses) if !addresses.is_empty() => {
                self.found.store(true, Ordering::Relaxed);
                Ok(addresses.into_iter())
            }
            _ if !self.found.load(Ordering::Relaxed) => {
                Ok(self.reachable(std::iter::once(NOWHERE)).into_iter())
            }
            none => none.map(Vec::into_iter),
        }
    }
}

fn dual_socket() -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, None)?;
    socket.set_only_v6(false)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)).into())?;
    Ok(socket.into())
}

/// `127.0.0.1` as `::ffff:127.0.0.1`.
fn mapped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) => SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into(),
        v6 => v6,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A name that was IPv4 and then is IPv6 only, as a look-up returns it.
    #[test]
    fn the_socket_follows_a_name_from_ipv4_to_ipv6() {
        let (target, socket) = Target::resolve("127.0.0.1:9").expect("a socket");
        for local in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(daemon) = UdpSocket::bind(local) else {
                println!("SKIPPED: this machine has no {local}");
                continue;
            };
            daemon.set_read_timeout(Some(Duration::from_secs(10))).expect("sets");
            let found = target.reachable(std::iter::once(daemon.local_addr().expect("is bound")));
            socket.send_to(b"a:1|c", &found[..]).expect("sends");
            let mut packet = [0; 16];
            let (len, _) = daemon.recv_from(&mut packet).expect("arrives");
            assert_eq!(&packet[..len], b"a:1|c", "{local}");
        }
    }

    #[test]
    fn ipv4_goes_first() {
        let target = Target { text: String::new(), dual: true, found: AtomicBool::new(false) };
        let both = ["[::1]:1", "127.0.0.1:1"].map(|text| text.parse().expect("an address"));
        let found = target.reachable(both.into_iter());
        assert_eq!(
            found.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["[::ffff:127.0.0.1]:1", "[::1]:1"]
        );
    }
}
