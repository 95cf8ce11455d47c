//! Where a role's admin listener is: `--admin ADDR|unix:PATH`.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// The longest path: `sun_path` holds 108 bytes with the closing NUL.
const PATH_BYTES_MAX: usize = 107;

/// An address of the admin listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// IP:PORT.
    Tcp(SocketAddr),
    /// unix:PATH; empty for a socket without a path.
    Unix(PathBuf),
}

impl FromStr for AdminAddress {
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
                .map_err(|_| "write IP:PORT such as 127.0.0.1:8081 or [::1]:8081, or unix:PATH".to_owned()),
        }
    }
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::AdminAddress;

    #[test]
    fn text_is_read_back_and_wrong_text_refused_with_its_form() {
        for text in ["127.0.0.1:8081", "[::1]:0", "unix:/run/a.sock"] {
            assert_eq!(text.parse::<AdminAddress>().expect("is right").to_string(), text);
        }
        for (text, wanted) in
            [("8081", "127.0.0.1:8081"), ("unix:", "unix:PATH"), (&"x".repeat(9), "IP:PORT")]
        {
            let error = text.parse::<AdminAddress>().expect_err("is wrong");
            assert!(error.contains(wanted), "{error}");
        }
        let long = format!("unix:/{}", "x".repeat(107));
        assert!(long.parse::<AdminAddress>().expect_err("is too long").contains("108 bytes"));
    }
}
