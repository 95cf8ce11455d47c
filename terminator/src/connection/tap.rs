//! What lies between hyper and the socket: it sees every byte both ways, and copies none.
//!
//! Owns: counting bytes, telling the phases apart that hyper does not report, finding requests with two lengths
//! (`framing`), and putting a problem in the place of the bare response that hyper writes for a head it cannot parse.
//! Invariant: bytes pass unchanged and in their order, but for that one response and the head that a new hyper is given (`replay`).

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::framing::Framing;
use super::{Connection, Phase, Replay, Stream};
use crate::rescue::{self, Reason, Refusal};

/// Up to this many bytes the slices of a write are joined: a copy that stays in the cache costs less than what `writev`
/// does more than `send`.
pub(super) const JOIN_LEN_MAX: usize = 2048;

/// A client's socket, watched.
#[derive(Debug)]
pub(super) struct Tap {
    stream: Stream,
    connection: Rc<Connection>,
    framing: Framing,
    /// What was read and hyper has not used: it was sent away, or is yet to come.
    unused: Bytes,
    /// What replaces hyper's own response, and how much of it has been written.
    own: Vec<u8>,
    own_written: usize,
}

impl Tap {
    pub(super) fn new(stream: Stream, connection: Rc<Connection>) -> Self {
        Self {
            stream,
            connection,
            framing: Framing::default(),
            unused: Bytes::new(),
            own: Vec::new(),
            own_written: 0,
        }
    }

    /// The socket itself, for when nothing is watched any more.
    pub(super) fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// Takes back what a hyper read and did not use: it is read again, before what that hyper had not come to.
    pub(super) fn unread(&mut self, bytes: &[u8]) {
        // A copy: even empty they hold the whole buffer.
        self.unused = [bytes, &self.unused].concat().into();
        if !self.unused.is_empty() && self.connection.phase.get() == Phase::Idle {
            // Part of a head: from now on it has a head's time, and does not rest.
            self.connection.enter(Phase::Head);
        }
    }

    /// Lets a new hyper read about the request that it is to answer, then what the client sent behind it.
    pub(super) fn replay(&mut self, replay: Replay) {
        self.unused = replay.before(&self.unused);
    }

    /// Waits for the client to leave. One that has sent something behind its request is not known to, as with hyper: the end
    /// comes after it.
    pub(super) fn poll_gone(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unused.is_empty() { self.stream.poll_ended(context) } else { Poll::Pending }
    }

    /// Waits until there is something to read, or its end.
    pub(super) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.unused.is_empty() { self.stream.poll_readable(context) } else { Poll::Ready(()) }
    }

    /// Whether the client has sent something that nobody has read.
    pub(super) fn has_unread(&self) -> bool {
        !self.unused.is_empty() || self.stream.has_unread()
    }

    /// Whether the next byte that is read begins a head.
    #[inline]
    pub(super) fn is_between_requests(&self) -> bool {
        self.unused.is_empty() && self.framing.is_between()
    }

    /// Reads without a look at what comes: [`Tap::pass_request`] or [`Tap::unread_unseen`] follows.
    #[inline]
    pub(super) fn poll_read_unseen(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        pin!(self.stream.read_buf(buffer)).poll(context)
    }

    /// What was read unseen was one whole request.
    #[inline]
    pub(super) fn pass_request(&mut self, len: usize) {
        let stats = &self.connection.worker.stats;
        stats.bytes_in.add(len as u64);
        stats.requests_plain.increment();
        self.framing.pass_request();
        self.connection.between.set(true);
    }

    /// What was read unseen is for hyper to read.
    pub(super) fn unread_unseen(&mut self, bytes: &[u8]) {
        self.seen(bytes);
        self.release_rest();
        // A copy: it would hold the whole buffer.
        self.unused = Bytes::copy_from_slice(bytes);
    }

    /// Writes of both what the socket takes.
    #[inline]
    pub(super) fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        head: &[u8],
        body: &[u8],
    ) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.stream);
        let written = match (head, body) {
            (one, []) | ([], one) => stream.poll_write(context, one),
            _ => stream.poll_write_vectored(context, &[IoSlice::new(head), IoSlice::new(body)]),
        };
        self.wrote(written)
    }

    /// Looks at what a read brought.
    #[inline]
    fn seen(&mut self, bytes: &[u8]) {
        let connection = &self.connection;
        connection.worker.stats.bytes_in.add(bytes.len() as u64);
        if matches!(connection.phase.get(), Phase::Idle | Phase::Accepted) {
            connection.enter(Phase::Head);
        }
        self.framing.follow(bytes);
        connection.between.set(self.framing.is_between());
        if self.framing.needs_attention() {
            connection.ambiguous.set(self.framing.ambiguous());
            connection.unframed.set(self.framing.lost());
        }
    }

    /// When what came does not end a request: its rest may wait for the acknowledgement.
    #[inline]
    fn release_rest(&self) {
        if !self.framing.is_between() {
            self.stream.ack_now();
        }
    }

    /// The client sends no more.
    #[cold]
    fn ended(&mut self) {
        if self.framing.is_in_head() {
            self.connection.worker.stats.reject(Reason::HeadTruncated);
            // hyper may read again after the end.
            self.framing = Framing::default();
        }
    }

    /// Whether `response`, all that hyper has to write, is one it made by itself; if so, ours takes its place.
    #[cold]
    fn replace(&mut self, response: &[u8]) -> bool {
        let Some(status) = parse_error_status(response) else { return false };
        let worker = &self.connection.worker;
        let limits = &worker.config.limits;
        let body = limits.body_bytes;
        let refusal = if self.framing.body_left() > body as u64 {
            // hyper takes a length near 2^64 for a head that is too large.
            Refusal::BodyTooLarge { limit: body }
        } else {
            let start_line_bytes = self.framing.start_line_bytes();
            Refusal::of_parse_error(status, start_line_bytes, limits.header_bytes, limits.header_count)
        };
        worker.stats.reject(refusal.reason());
        worker.stats.count_status(refusal.reason().status());
        self.own = rescue::bare(&refusal);
        self.own_written = 0;
        true
    }

    /// Writes the response of ours that is due.
    fn poll_own(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.own_written < self.own.len() {
            let rest = &self.own[self.own_written..];
            let written = Pin::new(&mut self.stream).poll_write(context, rest);
            let written = ready!(self.wrote(written))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.own_written += written;
        }
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn wrote(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let connection = &self.connection;
        match written {
            Poll::Ready(Ok(written)) => {
                connection.worker.stats.bytes_out.add(written as u64);
                if connection.answered_late.replace(false) {
                    self.stream.delay_ack();
                }
                if connection.phase.get() == Phase::Response {
                    // The client takes something: its time starts anew.
                    connection.enter(Phase::Response);
                }
            }
            Poll::Ready(Err(_)) => {}
            // Also what is no response's, `100 Continue`.
            Poll::Pending => {
                connection.unflushed.set(true);
                if connection.phase.get() == Phase::Parts {
                    connection.enter(Phase::Response);
                }
            }
        }
        written
    }
}

impl AsyncRead for Tap {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let tap = self.get_mut();
        if !tap.unused.is_empty() {
            let len = tap.unused.len().min(buffer.remaining());
            buffer.put_slice(&tap.unused.split_to(len));
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let outcome = ready!(Pin::new(&mut tap.stream).poll_read(context, buffer));
        match &buffer.filled()[before..] {
            [] => tap.ended(),
            read => tap.seen(read),
        }
        if buffer.remaining() > 0 {
            // There was no more.
            tap.release_rest();
        }
        Poll::Ready(outcome)
    }
}

impl AsyncWrite for Tap {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let tap = self.get_mut();
        ready!(tap.poll_own(context))?;
        if tap.connection.settled() && tap.replace(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut tap.stream).poll_write(context, bytes);
        tap.wrote(written)
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [slice] = slices {
            return self.poll_write(context, slice);
        }
        let tap = self.get_mut();
        ready!(tap.poll_own(context))?;
        let len = slices.iter().map(|slice| slice.len()).sum::<usize>();
        let written = if len <= JOIN_LEN_MAX {
            let mut joined = tap.connection.worker.joined.borrow_mut();
            joined.clear();
            slices.iter().for_each(|slice| joined.extend_from_slice(slice));
            Pin::new(&mut tap.stream).poll_write(context, &joined)
        } else {
            Pin::new(&mut tap.stream).poll_write_vectored(context, slices)
        };
        tap.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tap = self.get_mut();
        ready!(tap.poll_own(context))?;
        // hyper flushes the socket once its own buffer is empty.
        tap.connection.flushed();
        Pin::new(&mut tap.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tap = self.get_mut();
        ready!(tap.poll_own(context))?;
        Pin::new(&mut tap.stream).poll_shutdown(context)
    }
}

/// The status line that hyper writes for a request it cannot parse.
fn parse_error_status(response: &[u8]) -> Option<StatusCode> {
    let code = response.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    let status = StatusCode::from_bytes(code).ok()?;
    (status.is_client_error() && response.ends_with(b"\r\n\r\n")).then_some(status)
}
