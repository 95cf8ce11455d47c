//! Minimal HTTP client that asks whether the stack answers.
//!
//! Owns one GET per call. Invariant: an answer is bounded in time and in bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// Far more than a healthy stack needs.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Bounds the status line and the headers.
const ANSWER_BYTES_MAX: u64 = 16 * 1024;

/// Where an HTTP server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// The status of `GET path` at `server`.
///
/// # Errors
/// Describes what happened instead of an answer.
pub async fn status(server: &Server, path: &str) -> Result<u16, String> {
    let answer = tokio::time::timeout(ANSWER_WITHIN, get(server, path));
    let answer = answer.await.map_err(|_| "no answer".to_owned())?.map_err(|error| error.to_string())?;
    let status = answer.strip_prefix(b"HTTP/1.1 ").and_then(|rest| std::str::from_utf8(rest.get(..3)?).ok());
    status.and_then(|status| status.parse().ok()).ok_or_else(|| "an answer that is not HTTP".to_owned())
}

async fn get(server: &Server, path: &str) -> std::io::Result<Vec<u8>> {
    match server {
        Server::Tcp(address) => {
            let address = reachable(*address);
            ask(TcpStream::connect(address).await?, &address.to_string(), path).await
        }
        Server::Unix(socket) => ask(UnixStream::connect(socket).await?, "localhost", path).await,
    }
}

async fn ask(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    host: &str,
    path: &str,
) -> std::io::Result<Vec<u8>> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {host}\r\naccept: application/json\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    Ok(answer)
}

/// The address that reaches a listener: loopback when it listens on every address of this machine.
#[must_use]
pub fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::{Server, reachable, status};

    async fn answered_with(answer: &'static [u8]) -> Result<u16, String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("is bound");
        let serve = async {
            let (mut stream, _) = listener.accept().await.expect("accepts");
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.expect("reads");
            assert!(request[..read].starts_with(b"GET /ready HTTP/1.1\r\n"));
            stream.write_all(answer).await.expect("writes");
        };
        let server = Server::Tcp(address);
        tokio::join!(status(&server, "/ready"), serve).0
    }

    #[tokio::test]
    async fn status_is_read() {
        assert_eq!(answered_with(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").await, Ok(503));
    }

    #[tokio::test]
    async fn what_is_not_http_is_said() {
        assert!(answered_with(b"SP\0\0").await.is_err());
        assert!(answered_with(b"HTTP/1.1 2").await.is_err());
    }

    #[test]
    fn listener_on_all_addresses_is_reached_at_loopback() {
        assert_eq!(reachable("0.0.0.0:80".parse().expect("parses")).to_string(), "127.0.0.1:80");
        assert_eq!(reachable("[::]:80".parse().expect("parses")).to_string(), "[::1]:80");
        assert_eq!(reachable("10.0.0.1:80".parse().expect("parses")).to_string(), "10.0.0.1:80");
    }
}
