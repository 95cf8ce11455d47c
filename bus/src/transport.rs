//! A connected stream of any transport, read and written without a copy of ours.

use std::future::Future;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bus_proto::Framing;
use bytes::BytesMut;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::bind::Keepalive;
use crate::endpoint::Endpoint;
use crate::inproc;

/// How long a dial may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connected stream.
pub(crate) enum Transport {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Transport {
    /// Connects to `endpoint`; a host name is looked up every time.
    pub(crate) async fn dial(endpoint: &Endpoint, keepalive: Keepalive) -> io::Result<Self> {
        match endpoint {
            Endpoint::Tcp { host, port } => {
                let connect = async {
                    match host.parse::<IpAddr>() {
                        Ok(address) => TcpStream::connect((address, *port)).await,
                        Err(_) => TcpStream::connect((host.as_str(), *port)).await,
                    }
                };
                let timed_out = |_| io::Error::new(io::ErrorKind::TimedOut, "no answer within 5 s");
                let stream = tokio::time::timeout(CONNECT_TIMEOUT, connect).await.map_err(timed_out)??;
                Self::tcp(stream, keepalive)
            }
            Endpoint::Ipc(path) => Ok(Self::Unix(UnixStream::connect(path).await?)),
            Endpoint::Inproc(name) => inproc::connect(name),
        }
    }

    /// Batches are ours, so Nagle's delay is off; a dead machine is noticed by keepalive.
    pub(crate) fn tcp(stream: TcpStream, keepalive: Keepalive) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let probes = TcpKeepalive::new()
            .with_time(keepalive.idle)
            .with_interval(keepalive.interval)
            .with_retries(keepalive.count);
        SockRef::from(&stream).set_tcp_keepalive(&probes)?;
        Ok(Self::Tcp(stream))
    }

    pub(crate) fn pair_end(stream: std::os::unix::net::UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self::Unix(UnixStream::from_std(stream)?))
    }

    pub(crate) const fn framing(&self) -> Framing {
        match self {
            Self::Tcp(_) => Framing::Tcp,
            Self::Unix(_) => Framing::Ipc,
        }
    }

    /// Reads into the spare room of `buffer`.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => pin!(stream.read_buf(buffer)).poll(cx),
            Self::Unix(stream) => pin!(stream.read_buf(buffer)).poll(cx),
        }
    }

    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }
}
