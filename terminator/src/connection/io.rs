//! A connection's socket, its protocol's state, and what has been read and not been used.
//!
//! Owns: reading into the right memory, and counting bytes. Does not: look at what was read
//! (`incoming`, `body`) or choose what is written (`answering`, `outgoing`). Invariant: between two
//! requests it holds no memory but itself.

use std::io;
use std::mem;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, BytesMut};
use http1::Phase;
use tokio::io::AsyncReadExt;

use super::buffers::READ_LEN_MAX;
use super::{Connection, Stream};
use crate::rescue::Reason;

/// A read with less room than this is not worth its system call.
const READ_LEN_MIN: usize = 4 << 10;

/// A client's socket, with its protocol's state.
pub(super) struct Io {
    pub(super) stream: Stream,
    pub(super) connection: Rc<Connection>,
    pub(super) protocol: http1::Connection,
    /// Read, and not used yet.
    pub(super) unread: BytesMut,
    /// The protocol has not seen all of `unread`.
    pub(super) fresh: bool,
    /// The client may still be sending what will not be read.
    pub(super) lingers: bool,
    /// The response that is about to be written was long in coming.
    pub(super) answered_late: bool,
}

/// How a connection ends.
#[derive(Debug)]
pub(super) enum End {
    /// With its last response, or its client has ended it.
    Closed,
    /// The client overstayed.
    Expired,
    /// Within a response: its service broke off, so the client must see that it is not whole.
    Broken,
    /// The client left while its request waited, or its socket failed.
    Gone(io::Error),
}

impl Io {
    pub(super) fn new(stream: Stream, connection: Rc<Connection>) -> Self {
        Self {
            stream,
            connection,
            protocol: http1::Connection::new(),
            unread: BytesMut::new(),
            fresh: false,
            lingers: false,
            answered_late: false,
        }
    }

    /// True when a drain has begun and the client has sent nothing that is still to be served.
    pub(super) fn is_done(&self) -> bool {
        // The driver may not have heard yet of what the system has.
        self.connection.worker.draining() && self.protocol.is_between_requests() && !self.stream.has_unread()
    }

    /// Watches a client that is not read from. `Ready` when it is gone. A client that has only
    /// ended its side may still read.
    pub(super) fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<End> {
        // A FIN is only visible once all bytes before it have been read.
        if !self.unread.is_empty() || self.connection.half_closed.get() {
            return Poll::Pending;
        }
        match ready!(self.stream.poll_ended(context)) {
            Err(error) => Poll::Ready(End::Gone(error)),
            Ok(()) => {
                self.connection.half_closed.set(true);
                self.protocol.end_of_input().expect("the request has been read whole");
                Poll::Pending
            }
        }
    }

    /// Reads behind what is unread. Makes room only once there is something to read.
    pub(super) fn poll_read_unread(
        &mut self,
        len: usize,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), End>> {
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

    /// Reads what there is, at least a byte.
    #[inline]
    pub(super) fn poll_read(
        &mut self,
        buffer: &mut impl BufMut,
        context: &mut Context<'_>,
    ) -> Poll<Result<usize, End>> {
        match ready!(pin!(self.stream.read_buf(buffer)).poll(context)) {
            Ok(0) => {
                let again = self.connection.half_closed.replace(true);
                if !again && self.protocol.phase() == Phase::Head {
                    self.connection.worker.stats.reject(Reason::HeadTruncated);
                }
                Poll::Ready(Err(End::Closed))
            }
            Ok(len) => {
                self.connection.worker.stats.bytes_in.add(len as u64);
                Poll::Ready(Ok(len))
            }
            Err(error) => Poll::Ready(Err(End::Gone(error))),
        }
    }

    /// Reads into the worker's buffer.
    #[inline]
    pub(super) fn poll_read_into_shared(&mut self, context: &mut Context<'_>) -> Poll<Result<usize, End>> {
        let connection = Rc::clone(&self.connection);
        let mut buffer = connection.worker.buffers.read.borrow_mut();
        buffer.clear();
        buffer.reserve(READ_LEN_MAX);
        self.poll_read(&mut *buffer, context)
    }

    /// Takes note of what the client took.
    #[inline]
    pub(super) fn wrote(&mut self, len: usize) {
        self.connection.worker.stats.bytes_out.add(len as u64);
        if mem::replace(&mut self.answered_late, false) {
            self.stream.delay_ack();
        }
    }
}
