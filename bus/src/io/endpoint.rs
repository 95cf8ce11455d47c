//! Where a socket listens or dials: `tcp://HOST:PORT`, `ipc:///PATH`, `inproc://NAME`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// One address of the bus.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `tcp://HOST:PORT`. Each address of a host name is dialled, and the name is looked up before
    /// every dial; `*` listens on every address.
    Tcp {
        /// Name or address, without brackets.
        host: String,
        /// The port; 0 lets the system choose when listening.
        port: u16,
    },
    /// `ipc://PATH`: a Unix stream socket.
    Ipc(PathBuf),
    /// `inproc://NAME`: between workers of one process.
    Inproc(String),
}

/// Why a text is not an endpoint. The caller is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an endpoint: {reason}; write tcp://HOST:PORT, ipc:///PATH or inproc://NAME")]
pub struct EndpointError {
    text: String,
    reason: &'static str,
}

impl EndpointError {
    pub(crate) fn new(text: &str, reason: &'static str) -> Self {
        Self { text: text.to_owned(), reason }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = |reason| EndpointError::new(text, reason);
        let (scheme, rest) = text.split_once("://").ok_or_else(|| bad("it has no scheme"))?;
        match scheme {
            "tcp" => {
                let (host, port) = rest.rsplit_once(':').ok_or_else(|| bad("the port is missing"))?;
                let port = port.parse().map_err(|_| bad("the port is not a number up to 65535"))?;
                let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
                if host.is_empty() {
                    return Err(bad("the host is missing"));
                }
                Ok(Self::Tcp { host: host.to_owned(), port })
            }
            "ipc" if rest.is_empty() => Err(bad("the path is missing")),
            // sun_path holds 108 bytes with the closing NUL.
            "ipc" if rest.len() > 107 => {
                Err(bad("the path is longer than the 107 bytes a Unix socket may have"))
            }
            "ipc" => Ok(Self::Ipc(PathBuf::from(rest))),
            "inproc" if rest.is_empty() => Err(bad("the name is missing")),
            "inproc" => Ok(Self::Inproc(rest.to_owned())),
            _ => Err(bad("the scheme is unknown")),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
            Self::Ipc(path) => write!(f, "ipc://{}", path.display()),
            Self::Inproc(name) => write!(f, "inproc://{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_survive_a_round_trip() {
        for text in ["tcp://127.0.0.1:5555", "tcp://[::1]:1", "tcp://*:80", "ipc:///tmp/a.sock", "inproc://x"]
        {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_bad_endpoint_names_itself_and_the_forms() {
        for text in ["", "tcp://", "tcp://:1", "tcp://h", "tcp://h:66000", "udp://h:1", "ipc://", "inproc://"]
        {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")) && error.contains("tcp://HOST:PORT"), "{error}");
        }
    }
}
