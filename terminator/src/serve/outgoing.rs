//! Writing one response: a head joined with a small body, a head and a large body as slices, or the
//! parts of a reply as they arrive.
//!
//! Owns what is still to be written, the framing of chunks around it, and the end of the response.
//! Leaves the head's content to `response` and the socket to `io`. Invariant: a large body is not
//! copied, and parts are taken from the bus only once the earlier ones are written.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bus::Parts;
use bytes::{Buf, Bytes};
use http1::{Phase, Sending};
use tokio::io::AsyncWrite;

use super::io::{Disconnect, Io};
use crate::limits::JOIN_BYTES;
use crate::response::Written;
use crate::worker::Order;

/// A response that is being written.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// The head, small bodies, and the framing of chunks.
    out: Vec<u8>,
    out_written: usize,
    /// Written after `out`.
    body: Bytes,
    /// Written after `body`: the end of its chunk.
    tail: &'static [u8],
    sending: Sending,
    parts: Option<Parts>,
}

impl Outgoing {
    /// A response whose head is in `out`.
    #[inline]
    pub(super) fn new(out: Vec<u8>, written: Written) -> Self {
        let Written { sending, body, parts } = written;
        let mut outgoing = Self { out, out_written: 0, body: Bytes::new(), tail: &[], sending, parts };
        outgoing.put(body);
        outgoing
    }

    /// A response that is completely in `out`.
    pub(super) fn whole(out: Vec<u8>) -> Self {
        let sending = Sending::Nothing;
        Self { out, out_written: 0, body: Bytes::new(), tail: &[], sending, parts: None }
    }

    /// Appends a piece of the body. A small piece is copied, which is cheaper than `writev`.
    #[inline]
    fn put(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        let chunked = self.sending == Sending::Chunked;
        if chunked {
            http1::begin_chunk(piece.len(), &mut self.out);
        }
        if self.out.len() + piece.len() > JOIN_BYTES {
            self.body = piece;
            self.tail = if chunked { http1::CHUNK_END } else { &[] };
        } else {
            self.out.extend_from_slice(&piece);
            if chunked {
                self.out.extend_from_slice(http1::CHUNK_END);
            }
        }
    }

    /// Writes the response to its end; `Err` when the connection must close after it.
    pub(super) fn poll(&mut self, io: &mut Io, context: &mut Context<'_>) -> Poll<Result<(), Disconnect>> {
        loop {
            ready!(self.poll_write(io, context))?;
            if self.parts.is_none() {
                break;
            }
            (self.out_written, self.tail) = (0, &[]);
            self.out.clear();
            ready!(self.poll_parts(io, context))?;
        }
        io.buffers.give_back_written(std::mem::take(&mut self.out));
        // A drain may have begun since the head of the response was written.
        if io.protocol.finish() && !io.connection.worker.draining() {
            io.connection.enter(Phase::Idle);
            Poll::Ready(Ok(()))
        } else {
            Poll::Ready(Err(Disconnect::Closed))
        }
    }

    /// Writes `out`, `body` and `tail`.
    #[inline]
    fn poll_write(&mut self, io: &mut Io, context: &mut Context<'_>) -> Poll<Result<(), Disconnect>> {
        while self.out_written < self.out.len() || !self.body.is_empty() || !self.tail.is_empty() {
            let stream = Pin::new(&mut io.stream);
            let out = &self.out[self.out_written..];
            let written = if self.body.is_empty() && self.tail.is_empty() {
                stream.poll_write(context, out)
            } else {
                let slices = [IoSlice::new(out), IoSlice::new(&self.body), IoSlice::new(self.tail)];
                stream.poll_write_vectored(context, &slices)
            };
            let written = match written {
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(Disconnect::Gone(io::ErrorKind::WriteZero.into())));
                }
                Poll::Ready(Ok(written)) => written,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Disconnect::Gone(error))),
                Poll::Pending => {
                    if io.connection.phase() != Phase::Response {
                        io.connection.enter(Phase::Response);
                    }
                    // A drain needs nothing here: `poll` checks for it after the response.
                    return match io.connection.take_order(context.waker()) {
                        Some(Order::Expire) => Poll::Ready(Err(Disconnect::Expired)),
                        Some(Order::Drain) | None => Poll::Pending,
                    };
                }
            };
            io.wrote(written);
            let of_out = written.min(self.out.len() - self.out_written);
            self.out_written += of_out;
            let of_body = (written - of_out).min(self.body.len());
            self.body.advance(of_body);
            self.tail = &self.tail[written - of_out - of_body..];
            // The client read something, so the write time-out starts anew.
            io.connection.enter(Phase::Response);
        }
        Poll::Ready(Ok(()))
    }

    /// Takes the parts of the reply that have arrived, at least one or the end.
    fn poll_parts(&mut self, io: &mut Io, context: &mut Context<'_>) -> Poll<Result<(), Disconnect>> {
        while let Some(parts) = &mut self.parts {
            match parts.poll_next(context) {
                Poll::Pending if self.out.is_empty() => {
                    io.connection.enter(Phase::Parts);
                    // Only registers the waker: this phase has no time-out, and `poll` checks for a
                    // drain after the response.
                    let _ = io.connection.take_order(context.waker());
                    return io.poll_gone(context).map(Err);
                }
                Poll::Pending => break,
                Poll::Ready(Some(Ok(part))) => self.put(part),
                Poll::Ready(Some(Err(_))) => {
                    io.connection.worker.stats.replies_broken_off.increment();
                    if self.sending == Sending::UntilClose {
                        // A close without a reset would mark the body as complete.
                        io.stream.reset_when_closed();
                    }
                    return Poll::Ready(Err(Disconnect::Broken));
                }
                Poll::Ready(None) => {
                    self.parts = None;
                    if self.sending == Sending::Chunked {
                        http1::last_chunk(&mut self.out, |_| {});
                    }
                }
            }
            if !self.body.is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}
