//! A connection's socket, the state of its protocol, and bytes that were read and not used yet.
//!
//! Owns reading into the right memory, counting bytes, and noticing that the client has left.
//! Leaves parsing to `incoming` and `body`, and writing to `outgoing`. Invariant: between two
//! requests it holds no buffer.

use std::io;
use std::mem;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, BytesMut};
use http1::Phase;
use tokio::io::AsyncReadExt;

use super::buffers::{Buffers, READ_LEN_MAX};
use super::stream::Stream;
use crate::connection::Connection;
use crate::rescue::Reason;

/// Least room for a read, because a system call for fewer bytes is not worth its cost.
const READ_LEN_MIN: usize = 4 << 10;

/// A client's socket and the state of its protocol.
pub(super) struct Io {
    pub(super) stream: Stream,
    pub(super) connection: Rc<Connection>,
    /// Shared by the worker's connections.
    pub(super) buffers: Rc<Buffers>,
    pub(super) protocol: http1::Connection,
    /// Bytes that were read and not used yet.
    pub(super) unread: BytesMut,
    /// True when the protocol has not seen all of `unread`.
    pub(super) fresh: bool,
    /// True when the client may still be sending bytes that no request will use.
    pub(super) lingers: bool,
    /// True when the time to the response that is written next was in
    /// [`LATE`](crate::limits::LATE).
    pub(super) answered_late: bool,
}

/// Why a connection ends.
#[derive(Debug)]
pub(super) enum Disconnect {
    /// The last response is written, or the client has closed it between requests.
    Closed,
    /// A time-out has passed.
    Expired,
    /// The service broke off its reply; the client must see that the response is incomplete.
    Broken,
    /// The client left while its request waited for an answer, or its socket failed.
    Gone(io::Error),
}

impl Io {
    pub(super) fn new(stream: Stream, connection: Rc<Connection>, buffers: Rc<Buffers>) -> Self {
        Self {
            stream,
            connection,
            buffers,
            protocol: http1::Connection::new(),
            unread: BytesMut::new(),
            fresh: false,
            lingers: false,
            answered_late: false,
        }
    }

    /// True when a drain has begun and the client has sent no bytes of a further request.
    pub(super) fn is_done(&self) -> bool {
        // `has_unread` asks the kernel: tokio's driver may not know yet of bytes that have arrived.
        self.connection.worker.draining() && self.protocol.is_between_requests() && !self.stream.has_unread()
    }

    /// Polls whether the client has left while nothing is read from it. A client that has only shut
    /// down its sending side may still read, and has not left.
    pub(super) fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<Disconnect> {
        // A FIN is only visible once all bytes before it have been read.
        if !self.unread.is_empty() || self.connection.is_half_closed() {
            return Poll::Pending;
        }
        match ready!(self.stream.poll_ended(context)) {
            Err(error) => Poll::Ready(Disconnect::Gone(error)),
            Ok(()) => {
                self.connection.set_half_closed();
                self.protocol.end_of_input().expect("the request has been read completely");
                Poll::Pending
            }
        }
    }

    /// Reads more behind `unread`. Allocates room only once the socket is readable.
    pub(super) fn poll_read_unread(
        &mut self,
        len: usize,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Disconnect>> {
        ready!(self.stream.poll_readable(context));
        let mut unread = mem::take(&mut self.unread);
        if unread.capacity() - unread.len() < READ_LEN_MIN {
            unread.reserve(len);
        }
        let read = self.poll_read(&mut unread, context);
        self.unread = unread;
        self.fresh |= matches!(read, Poll::Ready(Ok(_)));
        read.map_ok(|_| ())
    }

    /// Reads what the socket has, at least one byte.
    #[inline]
    pub(super) fn poll_read(
        &mut self,
        buffer: &mut impl BufMut,
        context: &mut Context<'_>,
    ) -> Poll<Result<usize, Disconnect>> {
        match ready!(pin!(self.stream.read_buf(buffer)).poll(context)) {
            Ok(0) => {
                let again = self.connection.set_half_closed();
                if !again && self.protocol.phase() == Phase::Head {
                    self.connection.worker.stats.reject(Reason::HeadTruncated);
                }
                Poll::Ready(Err(Disconnect::Closed))
            }
            Ok(len) => {
                self.connection.worker.stats.bytes_in.add(len as u64);
                Poll::Ready(Ok(len))
            }
            Err(error) => Poll::Ready(Err(Disconnect::Gone(error))),
        }
    }

    /// Reads into the worker's buffer, which is empty before.
    #[inline]
    pub(super) fn poll_read_into_shared(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<usize, Disconnect>> {
        let buffers = Rc::clone(&self.buffers);
        let mut buffer = buffers.read.borrow_mut();
        buffer.clear();
        buffer.reserve(READ_LEN_MAX);
        self.poll_read(&mut *buffer, context)
    }

    /// Notes that the socket took `len` bytes.
    #[inline]
    pub(super) fn wrote(&mut self, len: usize) {
        self.connection.worker.stats.bytes_out.add(len as u64);
        if mem::replace(&mut self.answered_late, false) {
            self.stream.delay_ack();
        }
    }
}
