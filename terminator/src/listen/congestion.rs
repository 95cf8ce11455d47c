//! The congestion control of client connections (ADR 0022).
//!
//! Owns setting it on a listener, from which accepted connections inherit it, and the error text
//! when the system refuses. Leaves binding to `listen`. Invariant: it is set before the socket
//! listens.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use socket2::{Domain, Protocol, Socket, Type};

use crate::config::Congestion;

/// Files that list the algorithms of the system, and those that need no privilege.
const AVAILABLE: &str = "/proc/sys/net/ipv4/tcp_available_congestion_control";
const ALLOWED: &str = "/proc/sys/net/ipv4/tcp_allowed_congestion_control";

/// An algorithm that every Linux has, and that does not pace by timers.
const UNPACED: &str = "reno";

/// Checks that the system has the congestion control that is asked for, even when no listener is on
/// TCP.
///
/// # Errors
/// When it is unknown to the system or not allowed to this user; the message lists the choice.
pub fn check(asked: &Congestion) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    choose(&socket, Ipv4Addr::UNSPECIFIED.into(), asked)
}

/// Sets the congestion control of `listener`, bound to `address`, and so of the connections it will
/// accept. Must be called before it listens, because an algorithm that has begun to pace a
/// connection continues to do so after another is set.
pub(super) fn choose(listener: &Socket, address: IpAddr, asked: &Congestion) -> io::Result<()> {
    match asked {
        Congestion::System => Ok(()),
        Congestion::Auto => {
            if address.to_canonical().is_loopback() && is_paced(listener) {
                // A refusal is not an error here: the operator has not asked for this algorithm.
                if let Err(error) = listener.set_tcp_congestion(UNPACED.as_bytes()) {
                    tracing::info!(%address, %error, "congestion control stays the system's");
                }
            }
            Ok(())
        }
        Congestion::Named(name) => {
            listener.set_tcp_congestion(name.as_bytes()).map_err(|error| refused(name, &error))
        }
    }
}

/// True for BBR, which paces by a timer per connection where no `fq` queue does (tcp_bbr.c), as on
/// loopback.
fn is_paced(listener: &Socket) -> bool {
    listener.tcp_congestion().is_ok_and(|name| name.starts_with(b"bbr"))
}

fn refused(name: &str, error: &io::Error) -> io::Error {
    let list = |path| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let reason = match error.kind() {
        io::ErrorKind::PermissionDenied => format!(
            "not allowed to this user, who may choose from: {} (net.ipv4.tcp_allowed_congestion_control)",
            list(ALLOWED)
        ),
        io::ErrorKind::NotFound => {
            format!(
                "unknown to this system, which has: {} (`modprobe tcp_NAME` loads others)",
                list(AVAILABLE)
            )
        }
        _ => error.to_string(),
    };
    io::Error::new(error.kind(), format!("--congestion-control {name:?}: {reason}"))
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpStream};

    use super::*;
    use crate::listen::{Unstarted, bind};

    /// The congestion control of a connection that a listener at `address` accepts, and the default
    /// of the system.
    fn accepted(address: &str, asked: &Congestion) -> (Vec<u8>, Vec<u8>) {
        let bound = bind(&address.parse().unwrap(), 1, asked).unwrap();
        let Unstarted::Tcp(listener) = &bound.sockets[0] else { unreachable!("TCP was asked for") };
        listener.set_nonblocking(false).unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
        let (server, _) = listener.accept().unwrap();
        let name = |stream: TcpStream| {
            let name = Socket::from(stream).tcp_congestion().unwrap();
            name.into_iter().take_while(|byte| *byte != 0).collect()
        };
        (name(server), name(client))
    }

    #[test]
    fn what_is_accepted_has_the_one_that_was_named() {
        let (server, _) = accepted("127.0.0.1:0", &Congestion::Named("reno".to_owned()));
        assert_eq!(server, b"reno");
    }

    #[test]
    fn the_systems_is_kept_but_for_one_that_paces_on_loopback() {
        for (address, asked) in [
            ("127.0.0.1:0", Congestion::System),
            ("0.0.0.0:0", Congestion::Auto),
            ("127.0.0.1:0", Congestion::Auto),
        ] {
            let (server, system) = accepted(address, &asked);
            let replaced = asked == Congestion::Auto && address.starts_with("127") && system == b"bbr";
            let wanted = if replaced { b"reno" } else { &system[..] };
            assert_eq!(server, wanted, "{address} {asked:?}");
        }
    }

    #[test]
    fn one_that_is_not_there_is_named_with_those_that_are() {
        let asked = Congestion::Named("carrier-pigeon".to_owned());
        let error = bind(&"127.0.0.1:0".parse().unwrap(), 1, &asked).unwrap_err().to_string();
        assert!(
            error.contains("--congestion-control \"carrier-pigeon\": unknown") && error.contains("reno"),
            "{error}"
        );
        assert_eq!(check(&asked).unwrap_err().to_string(), error);
    }
}
