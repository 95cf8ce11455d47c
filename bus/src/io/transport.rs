//! A connected stream of any transport. Reading and writing make no copies of their own.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::{self, IoSlice, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bus_proto::Framing;
use bus_proto::outqueue::OutQueue;
use bytes::BytesMut;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::net::{TcpStream, tcp};

use crate::io::endpoint::Endpoint;
use crate::io::inproc;

/// Upper bound of the time for a connection to be established.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Slices of one vectored write. Linux accepts 1024, but more than a few dozen bring no gain.
const SLICES: usize = 64;
/// When this many bytes wait, they are mostly bodies: a Unix socket whose send buffer is full gets
/// a longer one.
const MANY_BYTES: usize = 256 << 10;
/// Length of the longer send buffer, limited by `net.core.wmem_max` (Linux doubles it, socket(7)).
/// With it a body of 1 MiB takes one turn of each side, not five.
const SEND_BUFFER_LEN: usize = 1 << 20;

/// TCP keepalive: after `idle` without traffic, `count` probes are sent `interval` apart, and then
/// the pipe is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Time without traffic before the first probe.
    pub idle: Duration,
    /// Time between probes.
    pub interval: Duration,
    /// Unanswered probes after which the pipe is closed.
    pub count: u32,
}

impl Default for Keepalive {
    /// A dead machine is noticed after 19 s. Requests time out long before, so this only frees the
    /// pipe.
    fn default() -> Self {
        Self { idle: Duration::from_secs(10), interval: Duration::from_secs(3), count: 3 }
    }
}

/// A connected stream. The reading half has one owner; the writing half can be shared.
pub(crate) struct Transport {
    reader: Reader,
    writer: Rc<Writer>,
}

enum Reader {
    Tcp(tcp::OwnedReadHalf),
    /// `pipe::Receiver` reads any descriptor and registers only for readability. tokio's
    /// `UnixStream` also registers for writability, and a Unix socket becomes writable, and wakes
    /// its task, at every read of the peer.
    Unix(pipe::Receiver),
}

/// The writing half.
pub(crate) enum Writer {
    Tcp(tcp::OwnedWriteHalf),
    Unix(UnixWriter),
}

pub(crate) struct UnixWriter {
    stream: UnixStream,
    /// While the peer reads too slowly: reports when the socket is writable again.
    full: RefCell<Option<pipe::Sender>>,
    /// True when the longer send buffer was requested.
    is_wide: Cell<bool>,
}

impl Transport {
    /// Connects to `endpoint`. Its host must be an address.
    pub(crate) async fn dial(endpoint: &Endpoint, keepalive: Keepalive) -> io::Result<Self> {
        match endpoint {
            Endpoint::Tcp { host, port } => {
                let not_one = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
                let address: IpAddr = host.parse().map_err(not_one)?;
                Self::dial_address(SocketAddr::new(address, *port), keepalive).await
            }
            Endpoint::Ipc(path) => Self::unix(tokio::net::UnixStream::connect(path).await?.into_std()?),
            Endpoint::Inproc(name) => Self::unix(inproc::connect(name)?),
        }
    }

    pub(crate) async fn dial_address(address: SocketAddr, keepalive: Keepalive) -> io::Result<Self> {
        let timed_out = |_| io::Error::new(io::ErrorKind::TimedOut, "no answer within 5 s");
        let connect = TcpStream::connect(address);
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, connect).await.map_err(timed_out)??;
        Self::tcp(stream, keepalive)
    }

    /// Messages are already written in batches, so Nagle's delay is turned off. Keepalive notices a
    /// dead machine.
    pub(crate) fn tcp(stream: TcpStream, keepalive: Keepalive) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let probes = TcpKeepalive::new()
            .with_time(keepalive.idle)
            .with_interval(keepalive.interval)
            .with_retries(keepalive.count);
        SockRef::from(&stream).set_tcp_keepalive(&probes)?;
        let (reader, writer) = stream.into_split();
        Ok(Self { reader: Reader::Tcp(reader), writer: Rc::new(Writer::Tcp(writer)) })
    }

    pub(crate) fn unix(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let reader = pipe::Receiver::from_owned_fd_unchecked(stream.try_clone()?.into())?;
        let writer = UnixWriter { stream, full: RefCell::default(), is_wide: Cell::default() };
        Ok(Self { reader: Reader::Unix(reader), writer: Rc::new(Writer::Unix(writer)) })
    }

    pub(crate) const fn framing(&self) -> Framing {
        match self.reader {
            Reader::Tcp(_) => Framing::Tcp,
            Reader::Unix(_) => Framing::Ipc,
        }
    }

    pub(crate) const fn writer(&self) -> &Rc<Writer> {
        &self.writer
    }

    /// Reads into the spare capacity of `buffer`.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        match &mut self.reader {
            Reader::Tcp(stream) => pin!(stream.read_buf(buffer)).poll(cx),
            Reader::Unix(stream) => pin!(stream.read_buf(buffer)).poll(cx),
        }
    }
}

impl UnixWriter {
    /// Requests the longer send buffer once, if `waiting` bytes are enough to justify it. True when
    /// the buffer was enlarged.
    fn widen(&self, waiting: usize) -> bool {
        let socket = SockRef::from(&self.stream);
        waiting >= MANY_BYTES
            && !self.is_wide.replace(true)
            && socket.send_buffer_size().is_ok_and(|len| len < SEND_BUFFER_LEN)
            && socket.set_send_buffer_size(SEND_BUFFER_LEN).is_ok()
    }
}

impl Writer {
    /// Writes everything that waits in `out`. Pending when the system takes no more now.
    #[inline]
    pub(crate) fn poll_flush(&self, cx: &mut Context<'_>, out: &mut OutQueue) -> Poll<io::Result<()>> {
        while let Err(error) = self.try_flush(out) {
            if error.kind() != io::ErrorKind::WouldBlock {
                return Poll::Ready(Err(error));
            }
            if let Self::Unix(writer) = self
                && writer.widen(out.bytes())
            {
                continue;
            }
            ready!(self.poll_ready(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes as much of `out` as the system takes now.
    ///
    /// # Errors
    /// The system's error; `WouldBlock` when a part still waits.
    pub(crate) fn try_flush(&self, out: &mut OutQueue) -> io::Result<()> {
        while !out.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = out.fill(&mut slices);
            if filled == 0 {
                break; // The queue holds back the rest.
            }
            let written = self.try_write(&slices[..filled])?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            out.advance(written);
        }
        if let Self::Unix(writer) = self {
            *writer.full.borrow_mut() = None;
        }
        Ok(())
    }

    /// Shuts down both directions, so that the reader sees the end of the stream.
    pub(crate) fn shut_down(&self) {
        // An error means that the connection has already ended.
        let _ = match self {
            Self::Tcp(stream) => SockRef::from(stream.as_ref()).shutdown(Shutdown::Both),
            Self::Unix(writer) => writer.stream.shutdown(Shutdown::Both),
        };
    }

    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write_vectored(slices),
            Self::Unix(writer) => match &*writer.full.borrow() {
                Some(full) => full.try_write_vectored(slices),
                None => (&writer.stream).write_vectored(slices),
            },
        }
    }

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.as_ref().poll_write_ready(cx),
            Self::Unix(writer) => {
                let mut full = writer.full.borrow_mut();
                let full = match &mut *full {
                    Some(full) => full,
                    none => {
                        let again = writer.stream.try_clone()?;
                        none.insert(pipe::Sender::from_owned_fd_unchecked(again.into())?)
                    }
                };
                full.poll_write_ready(cx)
            }
        }
    }
}
