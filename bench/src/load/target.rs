//! A request as bytes: built once, written unchanged.
//!
//! Owns parsing URLs, headers and bodies, and building the request's bytes.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use super::options::Options;

/// Where connections go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Address {
    /// The address of a URL, and its `Host`.
    pub(super) fn of(url: &str) -> Result<(Self, String)> {
        let Url { address, host, path } = parse(url)?;
        ensure!(path == "/", "{url:?}: give the server's address alone, http://HOST:PORT");
        Ok((address, host))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// One request that is sent repeatedly.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// A response to HEAD has no body, whatever its headers say.
    pub(super) is_head: bool,
    pub(super) bytes: Vec<u8>,
}

/// A parsed URL.
struct Url {
    address: Address,
    host: String,
    path: String,
}

impl Target {
    /// The request of a run, and its address.
    pub(super) fn of(options: &Options) -> Result<(Address, Self)> {
        let body = match &options.body {
            Some(path) => std::fs::read(path).with_context(|| format!("--body {}", path.display()))?,
            None => Vec::new(),
        };
        let url = parse(&options.url)?;
        let default_method = if options.body.is_some() { "POST" } else { "GET" };
        let method = options.method.as_deref().unwrap_or(default_method);
        let bytes = request(method, &url, options, &body)?;
        Ok((url.address, Self { is_head: method == "HEAD", bytes }))
    }
}

fn parse(url: &str) -> Result<Url> {
    if let Some(rest) = url.strip_prefix("unix:") {
        let (socket, path) = rest.split_once(":/").unwrap_or((rest, ""));
        return Ok(Url {
            address: Address::Unix(socket.into()),
            host: "localhost".to_owned(),
            path: format!("/{path}"),
        });
    }
    let uri: http::Uri = url.parse().with_context(|| format!("{url:?} is not a URL"))?;
    ensure!(
        uri.scheme_str() == Some("http"),
        "{url:?}: only http:// and unix: are supported; write http://HOST:PORT/PATH"
    );
    let (Some(host), Some(authority)) = (uri.host(), uri.authority()) else {
        bail!("{url:?}: the host is missing; write http://HOST:PORT/PATH")
    };
    let bare_host = host.trim_start_matches('[').trim_end_matches(']');
    let address = (bare_host, uri.port_u16().unwrap_or(80))
        .to_socket_addrs()
        .with_context(|| format!("{host}: cannot be looked up"))?
        .next()
        .with_context(|| format!("{host}: has no address"))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Ok(Url { address: Address::Tcp(address), host: authority.to_string(), path: path.to_owned() })
}

fn request(method: &str, url: &Url, options: &Options, body: &[u8]) -> Result<Vec<u8>> {
    let mut head = format!("{method} {} HTTP/1.1\r\n", url.path);
    let mut has_host = false;
    for header in &options.headers {
        let parts = header.split_once(':').filter(|(name, _)| !name.trim().is_empty());
        let (name, value) = parts.with_context(|| format!("-H {header:?} is not `NAME: VALUE`"))?;
        ensure!(!header.contains(['\r', '\n']), "-H {header:?}: a header has one line");
        has_host |= name.trim().eq_ignore_ascii_case("host");
        head.push_str(&format!("{}: {}\r\n", name.trim(), value.trim()));
    }
    if !has_host {
        head.push_str(&format!("Host: {}\r\n", url.host));
    }
    if !body.is_empty() || options.body.is_some() {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    if !options.keepalive {
        head.push_str("Connection: close\r\n");
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_becomes_address_host_and_path() {
        let url = parse("http://127.0.0.1:81/a?b=c").unwrap();
        assert_eq!(url.address, Address::Tcp("127.0.0.1:81".parse().unwrap()));
        assert_eq!((url.host.as_str(), url.path.as_str()), ("127.0.0.1:81", "/a?b=c"));
        let url = parse("unix:/run/x.sock:/members/1").unwrap();
        assert_eq!(url.address, Address::Unix("/run/x.sock".into()));
        assert_eq!(url.path, "/members/1");
        for bad in ["https://x/", "x", "http:///p"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
