//! Where a role listens for clients or operators: `--http` and `--admin ADDR|unix:PATH`.
//!
//! Owns the text of an address, and which address a socket has. Leaves binding to `admin`, `unix`
//! and the role.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::str::FromStr;

use socket2::SockRef;

/// The longest path: `sun_path` holds 108 bytes with the closing NUL.
const PATH_BYTES_MAX: usize = 107;

/// Where a stream socket listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// IP:PORT.
    Tcp(SocketAddr),
    /// unix:PATH; empty for a socket without a path.
    Unix(PathBuf),
}

impl Address {
    /// The address of a listening stream socket.
    ///
    /// # Errors
    /// When it is no socket, none that listens, or of another family.
    pub fn of(socket: &impl AsFd) -> io::Result<Self> {
        let socket = SockRef::from(socket);
        let wrong = |what| io::Error::new(io::ErrorKind::InvalidInput, what);
        if !socket.is_listener()? || socket.r#type()? != socket2::Type::STREAM {
            return Err(wrong("it is no listening stream socket"));
        }
        let address = socket.local_addr()?;
        let path = || address.as_pathname().map(|path| Self::Unix(path.to_owned()));
        let found = address.as_socket().map(Self::Tcp).or_else(path);
        found.ok_or_else(|| wrong("its address is neither TCP nor a Unix socket's path"))
    }

    /// True when connections to `self` come to `other`: every unspecified address is the same.
    pub(crate) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp(one), Self::Tcp(other)) => {
                let both_any = one.ip().is_unspecified() && other.ip().is_unspecified();
                one.port() == other.port() && (both_any || one.ip() == other.ip())
            }
            (one, other) => one == other,
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("unix:") {
            Some("") => Err("the path is missing; write unix:PATH".to_owned()),
            Some(path) if path.len() > PATH_BYTES_MAX => Err(format!(
                "the path has {} bytes, a Unix socket's at most {PATH_BYTES_MAX}; choose a shorter one",
                path.len()
            )),
            Some(path) => Ok(Self::Unix(PathBuf::from(path))),
            None => text
                .parse()
                .map(Self::Tcp)
                .map_err(|_| "write IP:PORT such as 127.0.0.1:8080 or [::1]:8080, or unix:PATH".to_owned()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn text_is_read_back_and_wrong_text_refused_with_its_form() {
        for text in ["127.0.0.1:8081", "[::1]:0", "unix:/run/a.sock"] {
            assert_eq!(text.parse::<Address>().expect("is right").to_string(), text);
        }
        for (text, wanted) in
            [("8080", "127.0.0.1:8080"), ("unix:", "unix:PATH"), (&"x".repeat(9), "IP:PORT")]
        {
            let error = text.parse::<Address>().expect_err("is wrong");
            assert!(error.contains(wanted), "{error}");
        }
        let long = format!("unix:/{}", "x".repeat(107));
        assert!(long.parse::<Address>().expect_err("is too long").contains("108 bytes"));
    }
}
