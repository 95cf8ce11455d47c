//! A response on its way to the client: its head joined with a small body, a large body as a slice,
//! or the parts of a reply as they come.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bus::Parts;
use bytes::{Buf, Bytes};
use http1::{Phase, Sending};
use tokio::io::AsyncWrite;

use super::Order;
use super::io::{End, Io};
use crate::limits::JOIN_BYTES;
use crate::response::Written;

/// What is to be written next, and where more comes from.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// The head, the framing of chunks, and small bodies.
    out: Vec<u8>,
    out_written: usize,
    /// Comes behind `out`.
    body: Bytes,
    /// Comes behind `body`: the end of its chunk.
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

    /// A response that is in `out` whole.
    pub(super) fn whole(out: Vec<u8>) -> Self {
        let sending = Sending::Nothing;
        Self { out, out_written: 0, body: Bytes::new(), tail: &[], sending, parts: None }
    }

    /// Puts a piece of the body behind what is there. Copying a small body is cheaper than
    /// `writev`.
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

    /// Writes the response to its end; `Err` when the connection ends with it.
    pub(super) fn poll(&mut self, io: &mut Io, context: &mut Context<'_>) -> Poll<Result<(), End>> {
        loop {
            ready!(self.poll_write(io, context))?;
            if self.parts.is_none() {
                break;
            }
            (self.out_written, self.tail) = (0, &[]);
            self.out.clear();
            ready!(self.poll_parts(io, context))?;
        }
        io.connection.worker.buffers.give_back_written(std::mem::take(&mut self.out));
        // A drain may have begun while the client took its time.
        if io.protocol.finish() && !io.connection.worker.draining() {
            io.connection.enter(Phase::Idle);
            Poll::Ready(Ok(()))
        } else {
            Poll::Ready(Err(End::Closed))
        }
    }

    /// Writes all that is there.
    #[inline]
    fn poll_write(&mut self, io: &mut Io, context: &mut Context<'_>) -> Poll<Result<(), End>> {
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
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(End::Gone(io::ErrorKind::WriteZero.into()))),
                Poll::Ready(Ok(written)) => written,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(End::Gone(error))),
                Poll::Pending => {
                    if io.connection.phase.get() != Phase::Response {
                        io.connection.enter(Phase::Response);
                    }
                    // The worker knows of a drain.
                    return match io.connection.take_order(context.waker()) {
                        Some(Order::Expire) => Poll::Ready(Err(End::Expired)),
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
            // The client took something: its time begins anew.
            io.connection.enter(Phase::Response);
        }
        Poll::Ready(Ok(()))
    }

    /// Takes the parts that are there, at least one or the end.
    fn poll_parts(&mut self, io: &mut Io, context: &mut Context<'_>) -> Poll<Result<(), End>> {
        while let Some(parts) = &mut self.parts {
            match parts.poll_next(context) {
                Poll::Pending if self.out.is_empty() => {
                    io.connection.enter(Phase::Parts);
                    // The service's time is limited by its deadline, and the worker knows of a
                    // drain.
                    let _ = io.connection.take_order(context.waker());
                    return io.poll_gone(context).map(Err);
                }
                Poll::Pending => break,
                Poll::Ready(Some(Ok(part))) => self.put(part),
                Poll::Ready(Some(Err(_))) => {
                    io.connection.worker.stats.replies_broken_off.increment();
                    if self.sending == Sending::UntilClose {
                        // An ordinary end would say that the body is whole.
                        io.stream.reset_when_closed();
                    }
                    return Poll::Ready(Err(End::Broken));
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
