//! Listening sockets that a role gets instead of binding them: from the service manager
//! (`sd_listen_fds(3)`) or from its predecessor (`handover`).
//!
//! Owns: which of them belongs to which flag. Leaves accepting to the role and to crate `bus`.
//! Invariant: a socket goes to one flag only; one that the service manager passed and no flag asks
//! for is an error.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::str::FromStr;

use bus::OwnsFile;
use serde::{Deserialize, Serialize};

use crate::address::Address;

/// What is served on a socket. Its text is the name in `LISTEN_FDNAMES`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `http`: clients, `--http`.
    Http,
    /// `bus`: peers, `--bus-listen`.
    Bus,
    /// `admin`: operators, `--admin`.
    Admin,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Bus => "bus",
            Self::Admin => "admin",
        })
    }
}

impl FromStr for Kind {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "http" => Ok(Self::Http),
            "bus" => Ok(Self::Bus),
            "admin" => Ok(Self::Admin),
            _ => Err(()),
        }
    }
}

/// A flag that a socket may be for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What is served there.
    pub kind: Kind,
    /// The flag's value as given.
    pub flag: String,
    /// What the value says; `None` when it is a name or no stream socket.
    pub address: Option<Address>,
}

impl Wanted {
    /// `--bus-listen`.
    #[must_use]
    pub fn bus(listen: &bus::Listen) -> Self {
        let address = match &listen.endpoint {
            bus::Endpoint::Tcp { host, port } => {
                let host = if host == "*" { "0.0.0.0" } else { host };
                host.parse::<IpAddr>().ok().map(|ip| Address::Tcp(SocketAddr::new(ip, *port)))
            }
            bus::Endpoint::Ipc(path) => Some(Address::Unix(path.clone())),
            bus::Endpoint::Inproc(_) => None,
        };
        Self { kind: Kind::Bus, flag: listen.to_string(), address }
    }

    /// `--http` or `--admin`.
    #[must_use]
    pub fn at(kind: Kind, listen: &Address) -> Self {
        Self { kind, flag: listen.to_string(), address: Some(listen.clone()) }
    }
}

/// A listening socket that another process has bound.
#[derive(Debug)]
pub struct Inherited {
    /// What is served there; `None` when only the address can tell.
    pub kind: Option<Kind>,
    /// The value of the predecessor's flag; `None` from the service manager.
    pub flag: Option<String>,
    /// Who removes the file of a Unix socket in the end. A service manager keeps its own.
    pub owns_file: OwnsFile,
    /// The socket.
    pub socket: OwnedFd,
}

impl Inherited {
    /// For the bus.
    #[must_use]
    pub fn into_bus(self) -> bus::Inherited {
        bus::Inherited { socket: self.socket, owns_file: self.owns_file }
    }

    /// A socket of the bus, for the process that comes next.
    #[must_use]
    pub fn from_bus(wanted: &Wanted, socket: bus::Inherited) -> Self {
        let bus::Inherited { socket, owns_file } = socket;
        Self { kind: Some(wanted.kind), flag: Some(wanted.flag.clone()), owns_file, socket }
    }
}

/// The service manager and the flags contradict each other.
#[derive(Debug, thiserror::Error)]
pub enum SocketsError {
    /// The variables or a descriptor cannot be used.
    #[error("LISTEN_FDS: the sockets of the service manager cannot be used")]
    Environment(#[source] io::Error),
    /// No flag asks for it.
    #[error(
        "LISTEN_FDS: no flag asks for the socket {name:?} at {address}; name it http, bus or admin \
         (FileDescriptorName=), or give its address to --http, --bus-listen or --admin"
    )]
    Unmatched {
        /// Its name.
        name: String,
        /// Where it listens.
        address: String,
    },
}

/// Adds the service manager's sockets to `all`, which may hold a predecessor's already. `all[n]`
/// holds the sockets for `wanted[n]`.
/// Where there is one already, from a predecessor, the service manager's is closed here.
///
/// A socket is for the flag that says its address. When none does, its name decides: it is for the
/// only flag of that kind.
///
/// # Errors
/// [`SocketsError`] when the environment is wrong, and for the first socket without a flag.
pub fn add_activated(wanted: &[Wanted], all: &mut [Vec<Inherited>]) -> Result<(), SocketsError> {
    let is_there: Vec<bool> = all.iter().map(|sockets| !sockets.is_empty()).collect();
    let passed = sd_notify::listen_fds_with_names().map_err(SocketsError::Environment)?;
    for (descriptor, name) in passed {
        let socket = own(descriptor);
        let address = Address::of(&socket).map_err(SocketsError::Environment)?;
        let kind = name.parse().ok();
        let at = by_address(wanted, kind, &address).or_else(|| only_one(wanted, kind?));
        let at = at.ok_or_else(|| SocketsError::Unmatched { name, address: address.to_string() })?;
        if !is_there[at] {
            all[at].push(Inherited {
                kind: Some(wanted[at].kind),
                flag: None,
                owns_file: OwnsFile::new(false),
                socket,
            });
        }
    }
    Ok(())
}

#[allow(unsafe_code, reason = "the service manager passes plain numbers")]
fn own(descriptor: std::os::fd::RawFd) -> OwnedFd {
    use std::os::fd::FromRawFd;
    // SAFETY: the service manager opened this descriptor for this process (LISTEN_PID), it is open
    // (its flags were just set), and this is the only place that takes it, once.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

/// The sockets of a predecessor, each for one of `wanted`, in that order. One that is for none is
/// closed here: an address that the new settings do not have.
pub(crate) fn from_predecessor(wanted: &[Wanted], passed: Vec<Inherited>) -> Vec<Vec<Inherited>> {
    let mut all: Vec<Vec<Inherited>> = wanted.iter().map(|_| Vec::new()).collect();
    for inherited in passed {
        let is_same = |wanted: &Wanted| {
            Some(wanted.kind) == inherited.kind && Some(&wanted.flag) == inherited.flag.as_ref()
        };
        let same_flag = wanted.iter().position(is_same);
        let same_address = || by_address(wanted, inherited.kind, &Address::of(&inherited.socket).ok()?);
        match same_flag.or_else(same_address) {
            Some(at) => all[at].push(inherited),
            None => tracing::info!(flag = inherited.flag, "the predecessor's socket is not asked for"),
        }
    }
    all
}

fn by_address(wanted: &[Wanted], kind: Option<Kind>, address: &Address) -> Option<usize> {
    wanted.iter().position(|wanted| {
        kind.is_none_or(|kind| kind == wanted.kind)
            && wanted.address.as_ref().is_some_and(|wanted| wanted.is(address))
    })
}

fn only_one(wanted: &[Wanted], kind: Kind) -> Option<usize> {
    let mut of_kind = wanted.iter().enumerate().filter(|(_, wanted)| wanted.kind == kind);
    let (at, _) = of_kind.next()?;
    of_kind.next().is_none().then_some(at)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn wanted(kind: Kind, flag: &str, address: &str) -> Wanted {
        let address = match address.strip_prefix("unix:") {
            Some(path) => Address::Unix(path.into()),
            None => Address::Tcp(address.parse().unwrap()),
        };
        Wanted { kind, flag: flag.to_owned(), address: Some(address) }
    }

    fn passed(kind: Kind, flag: &str, socket: impl Into<OwnedFd>) -> Inherited {
        Inherited {
            kind: Some(kind),
            flag: Some(flag.to_owned()),
            owns_file: OwnsFile::new(true),
            socket: socket.into(),
        }
    }

    #[test]
    fn a_predecessors_sockets_go_to_the_same_flag_or_address_and_others_are_closed() {
        let any = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (moved, gone) = (any(), any());
        let address = moved.local_addr().unwrap().to_string();
        let gone_at = gone.local_addr().unwrap();
        let wanted = [
            wanted(Kind::Http, "127.0.0.1:0", "127.0.0.1:0"),
            wanted(Kind::Http, &address, &address),
            wanted(Kind::Admin, "127.0.0.1:0", "127.0.0.1:0"),
        ];
        let sockets = vec![
            passed(Kind::Http, "127.0.0.1:0", any()),
            passed(Kind::Http, "127.0.0.1:0", any()),
            passed(Kind::Http, "[::]:80", moved),
            passed(Kind::Http, &gone_at.to_string(), gone),
        ];
        let counts: Vec<usize> = from_predecessor(&wanted, sockets).iter().map(Vec::len).collect();
        assert_eq!(counts, [2, 1, 0]);
        TcpListener::bind(gone_at).expect("it was closed");
    }

    #[test]
    fn every_unspecified_address_is_the_same_and_files_are_told_by_their_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let socket = UnixListener::bind(&path).unwrap();
        let at = format!("unix:{}", path.display());
        let wanted = [wanted(Kind::Bus, "x", "0.0.0.0:80"), wanted(Kind::Http, "y", &at)];
        let any = Address::Tcp("[::]:80".parse().unwrap());
        assert_eq!(by_address(&wanted, None, &any), Some(0));
        assert_eq!(by_address(&wanted, Some(Kind::Http), &any), None);
        assert_eq!(by_address(&wanted, None, &Address::of(&socket).unwrap()), Some(1));
        assert_eq!(only_one(&wanted, Kind::Bus), Some(0));
        assert_eq!(only_one(&wanted, Kind::Admin), None);
    }

    #[test]
    fn what_does_not_listen_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Address::of(&std::fs::File::open(dir.path()).unwrap()).is_err());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(Address::of(&client).is_err());
    }
}
