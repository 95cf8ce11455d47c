//! A connected stream of any transport, read and written without a copy of ours.

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

/// How long a dial may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Slices of one vectored write; Linux takes 1024, more than some dozens bring nothing.
const SLICES: usize = 64;
/// So many bytes that wait are bodies: a Unix socket whose buffer they have filled gets another.
const MANY_BYTES: usize = 256 << 10;
/// The buffer then, as far as `net.core.wmem_max` goes (Linux doubles it, socket(7)): a body of 1
/// MiB is written with one turn of each side and not with five.
const SEND_BUFFER_LEN: usize = 1 << 20;

/// TCP keepalive: after `idle`, `count` probes `interval` apart, then the pipe is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the first probe.
    pub idle: Duration,
    /// Between probes.
    pub interval: Duration,
    /// Probes without an answer.
    pub count: u32,
}

impl Default for Keepalive {
    /// A dead machine is noticed after 19 s; requests time out long before, so this only frees the
    /// pipe.
    fn default() -> Self {
        Self { idle: Duration::from_secs(10), interval: Duration::from_secs(3), count: 3 }
    }
}

/// A connected stream: who reads it owns it, who writes may share it.
pub(crate) struct Transport {
    reader: Reader,
    writer: Rc<Writer>,
}

enum Reader {
    Tcp(tcp::OwnedReadHalf),
    /// Of tokio's types the one that asks to be told of bytes alone, and reads any descriptor. Its
    /// `UnixStream` asks whether it may write, too; and a Unix socket says so, and wakes its owner,
    /// at every read of the other end.
    Unix(pipe::Receiver),
}

/// The writing half.
pub(crate) enum Writer {
    Tcp(tcp::OwnedWriteHalf),
    Unix(UnixWriter),
}

pub(crate) struct UnixWriter {
    stream: UnixStream,
    /// While the other end reads too slowly: asks to be told when it has read.
    full: RefCell<Option<pipe::Sender>>,
    /// Its buffer in the system is of the length that bodies want.
    is_wide: Cell<bool>,
}

impl Transport {
    /// Connects to `endpoint`, whose host is an address.
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

    /// Batches are ours, so Nagle's delay is off; a dead machine is noticed by keepalive.
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

    /// Reads into the spare room of `buffer`.
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
    /// Gives it the longer buffer, once, if the bytes that wait are worth it. True when it was
    /// given.
    fn widen(&self, waiting: usize) -> bool {
        let socket = SockRef::from(&self.stream);
        waiting >= MANY_BYTES
            && !self.is_wide.replace(true)
            && socket.send_buffer_size().is_ok_and(|len| len < SEND_BUFFER_LEN)
            && socket.set_send_buffer_size(SEND_BUFFER_LEN).is_ok()
    }
}

impl Writer {
    /// Writes what waits in `out`, all of it unless the system takes no more now.
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
    /// As the system says; `WouldBlock` when some of it still waits.
    pub(crate) fn try_flush(&self, out: &mut OutQueue) -> io::Result<()> {
        while !out.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = out.fill(&mut slices);
            if filled == 0 {
                break; // The rest is held back.
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

    /// Ends the connection for both sides: its reader meets the end of the stream.
    pub(crate) fn shut_down(&self) {
        // It fails when the connection has ended already.
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
