//! A client's socket, TCP or Unix.
//!
//! Owns the socket options and queries that tokio's types do not have: acknowledgements, reset on
//! close, and looking at the receive queue. Leaves accepting to `listen`. Invariant: no option here
//! is needed for a connection to work, so an error in setting one is ignored.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A connected socket.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// Unix.
    Unix(UnixStream),
}

impl Stream {
    /// Writes what the socket takes without waiting; returns the number of bytes.
    ///
    /// # Errors
    /// Of the system; `WouldBlock` when it takes nothing.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        // Bypasses tokio: its driver does not know yet that a socket just accepted is writable.
        self.socket().send(bytes)
    }

    /// The socket itself, without tokio's readiness.
    fn socket(&self) -> SockRef<'_> {
        match self {
            Self::Tcp(stream) => stream.into(),
            Self::Unix(stream) => stream.into(),
        }
    }

    /// Delays the acknowledgement of the next bytes, so that the response can carry it
    /// (`TCP_QUICKACK` off, tcp(7); ADR 0021). The kernel returns to its own choice when its timer
    /// for a delayed acknowledgement expires.
    pub(super) fn delay_ack(&self) {
        if let Self::Tcp(_) = self {
            // A failure only costs one packet more per response.
            let _ = self.socket().set_tcp_quickack(false);
        }
    }

    /// Acknowledges the bytes that have arrived, because the client may hold back the rest of its
    /// request until then (Nagle's algorithm, RFC 9293 section 3.7.4).
    pub(super) fn ack_now(&self) {
        if let Self::Tcp(_) = self {
            // A failure only makes the client wait longer.
            let _ = self.socket().set_tcp_quickack(true);
        }
    }

    /// Makes the close a reset, so that the client sees that the response is incomplete. Unix
    /// sockets have no reset.
    pub(super) fn reset_when_closed(&self) {
        // A failure cannot be handled: the client will take the response as complete.
        let _ = self.socket().set_linger(Some(Duration::ZERO));
    }

    /// Polls for bytes to read, the end, or an error that a read will report.
    pub(super) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(context).map(|_| ()),
            Self::Unix(stream) => stream.poll_read_ready(context).map(|_| ()),
        }
    }

    /// Polls for the peer's shutdown, or an error. Bytes stay in the receive queue; while there are
    /// any, a shutdown behind them is not noticed.
    pub(super) fn poll_ended(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_readable(context));
            match self.try_peek() {
                Ok(0) => return Poll::Ready(Ok(())),
                Ok(_) => return Poll::Pending,
                // Spurious readiness: poll again to register the waker.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// True when the receive queue has bytes: closing now would reset the connection.
    pub(super) fn has_unread(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        // Bypasses tokio: its driver may not know of the bytes yet.
        matches!(self.socket().peek(&mut byte), Ok(1..))
    }

    fn try_peek(&self) -> io::Result<usize> {
        let mut byte = [MaybeUninit::uninit()];
        match self {
            Self::Tcp(stream) => stream.try_io(Interest::READABLE, || self.socket().peek(&mut byte)),
            Self::Unix(stream) => stream.try_io(Interest::READABLE, || self.socket().peek(&mut byte)),
        }
    }
}

impl AsyncRead for Stream {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Sockets have nothing to flush.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Linux says with the same option whether it would acknowledge at once.
    #[tokio::test]
    async fn an_acknowledgement_is_delayed_that_would_be_sent_at_once_and_the_other_way_round() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, accepted) =
            tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let stream = Stream::Tcp(accepted.unwrap().0);
        let at_once = || stream.socket().tcp_quickack().unwrap();
        assert!(at_once(), "a new connection acknowledges at once");
        stream.delay_ack();
        assert!(!at_once());
        stream.ack_now();
        assert!(at_once());
        drop(client);
    }
}
