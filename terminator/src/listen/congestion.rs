//! Which congestion control the connections of a listener have (ADR 0022).

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use socket2::{Domain, Protocol, Socket, Type};

use crate::config::Congestion;

/// What the system has, and what of it needs no privilege: for messages.
const AVAILABLE: &str = "/proc/sys/net/ipv4/tcp_available_congestion_control";
const ALLOWED: &str = "/proc/sys/net/ipv4/tcp_allowed_congestion_control";

/// Part of every Linux, and without timers of its own.
const UNPACED: &str = "reno";

/// Whether connections can have what is asked for: also when nobody listens on TCP.
pub fn check(asked: &Congestion) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    choose(&socket, Ipv4Addr::UNSPECIFIED.into(), asked)
}

/// Gives `listener`, which is at `address`, and with it what it will accept, the congestion control
/// asked for. Before it listens: an algorithm that has begun to pace a connection goes on when
/// another takes over.
pub(super) fn choose(listener: &Socket, address: IpAddr, asked: &Congestion) -> io::Result<()> {
    match asked {
        Congestion::System => Ok(()),
        Congestion::Auto => {
            if address.to_canonical().is_loopback() && is_paced(listener) {
                // Nobody asked for it by name: a system that refuses keeps its own.
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

/// BBR sends by a timer of each connection where no `fq` queue does it (tcp_bbr.c), and loopback
/// has no queue.
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

    /// The congestion control of a connection that a listener at `address` accepts, and the
    /// system's.
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
