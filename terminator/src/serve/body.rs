//! The body of a request, when it was not read together with the head.
//!
//! Owns reading the body within its limits, discarding the body of a request that is already
//! refused, and joining small pieces. Leaves framing to crate `http1`. Invariant: large pieces are
//! not copied, and a body has at most `limit / CHUNK_JOIN_BYTES * 2 + 2` pieces, whatever the
//! client sends.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bus::Body;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http1::{Event, Head, Limits, Phase, Step};
use tokio::io::AsyncWrite;
use tokio::time::Sleep;

use super::answering::{Next, answer, ask};
use super::io::{Disconnect, Io};
use crate::forward::Begun;
use crate::limits::{BODY_PIECE_BYTES, CHUNK_JOIN_BYTES, DISCARD_BYTES, DISCARD_TIME};
use crate::rescue::Refusal;
use crate::worker::Order;

/// A request whose body is being read.
#[derive(Debug)]
pub(super) struct Receiving {
    begun: Begun,
    pieces: Pieces,
    /// Where a body of known length is read into; empty when the length is unknown.
    piece: BytesMut,
    limits: Limits,
    state: State,
    /// Set when the request is already refused: its body is read and discarded until then, so that
    /// the connection can be reused.
    discarding: Option<Pin<Box<Sleep>>>,
    /// Number of bytes of `100 Continue` that have been written.
    continue_written: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Incomplete,
    Complete,
    /// The body is malformed, too long, or too late.
    Failed(Refusal),
}

impl Receiving {
    /// Starts with no byte of the body read.
    pub(super) fn new(begun: Begun) -> Self {
        let mut limits = begun.limits();
        let mut discarding = None;
        if !begun.wants_body() {
            limits.body_len_max = DISCARD_BYTES;
            discarding = Some(Box::pin(tokio::time::sleep(DISCARD_TIME)));
        }
        Self {
            begun,
            pieces: Pieces::default(),
            piece: BytesMut::new(),
            limits,
            state: State::Incomplete,
            discarding,
            continue_written: 0,
        }
    }

    /// Copies the part of the body that is at the front of `input`; returns the number of bytes
    /// used.
    pub(super) fn take(
        &mut self,
        protocol: &mut http1::Connection,
        input: &mut [u8],
        head: &mut Head,
    ) -> usize {
        let mut used = 0;
        while let Some((skip, len)) = self.next(protocol, &mut input[used..], head) {
            self.pieces.put(&input[used + skip..used + skip + len]);
            used += skip + len;
        }
        used
    }

    /// Finds the next bytes of the body at the front of `input`: how many bytes of framing precede
    /// them, and their length. `None` when `input` has no more of the body.
    fn next(
        &mut self,
        protocol: &mut http1::Connection,
        input: &mut [u8],
        head: &mut Head,
    ) -> Option<(usize, usize)> {
        if self.state != State::Incomplete {
            return None;
        }
        let step =
            protocol.check_length(&self.limits).and_then(|()| protocol.receive(input, head, &self.limits));
        match step {
            Ok(Step { skip, event: Some(Event::Data(len)) }) => Some((skip, len)),
            // Trailers are dropped: an envelope has no place for them.
            Ok(Step { skip, event: Some(Event::Trailer(len)) }) => Some((skip + len, 0)),
            Ok(Step { skip, event: Some(Event::End) }) => {
                self.state = State::Complete;
                Some((skip, 0))
            }
            Ok(Step { skip, .. }) => (skip > 0).then_some((skip, 0)),
            Err(error) => {
                self.state = State::Failed(error.into());
                None
            }
        }
    }
}

impl Receiving {
    /// Reads until the body is complete, has failed, or need not be discarded any longer.
    pub(super) fn poll(&mut self, io: &mut Io, context: &mut Context<'_>) -> Poll<Result<(), Disconnect>> {
        let expired = io.connection.take_order(context.waker()) == Some(Order::Expire);
        if expired && self.begun.wants_body() {
            let limit = io.connection.worker.config.limits.timeouts.body;
            self.state = State::Failed(Refusal::BodyTimeout { limit });
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_continue(io, context))?;
        loop {
            take_unread(io, self);
            if self.state != State::Incomplete {
                return Poll::Ready(Ok(()));
            }
            if let Some(discarding) = &mut self.discarding
                && discarding.as_mut().poll(context).is_ready()
            {
                return Poll::Ready(Ok(()));
            }
            let read = match io.protocol.body_left() {
                Some(left) => ready!(poll_piece(io, self, left, context)),
                None => ready!(io.poll_read_unread(BODY_PIECE_BYTES, context)),
            };
            match read {
                Ok(()) => {}
                Err(Disconnect::Closed) => {
                    let ended = io.protocol.end_of_input();
                    self.state = State::Failed(ended.expect_err("the body is incomplete").into());
                }
                Err(end) => return Poll::Ready(Err(end)),
            }
        }
    }

    /// Writes `100 Continue` to a client that waits for it before it sends the body.
    fn poll_continue(&mut self, io: &mut Io, context: &mut Context<'_>) -> Poll<Result<(), Disconnect>> {
        while self.state == State::Incomplete && io.protocol.expects_continue() {
            let rest = &http1::CONTINUE[self.continue_written..];
            let written =
                ready!(Pin::new(&mut io.stream).poll_write(context, rest)).map_err(Disconnect::Gone)?;
            io.wrote(written);
            self.continue_written += written;
            if self.continue_written == http1::CONTINUE.len() {
                io.protocol.continued();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Asks a service with the body that was read, or begins the response without one.
    pub(super) fn finish(mut self, io: &mut Io) -> Next {
        if self.state != State::Complete {
            io.protocol.end();
        }
        match self.state {
            State::Failed(refusal) if self.begun.wants_body() => {
                Next::Respond(answer(io, self.begun.refuse(refusal)))
            }
            _ => {
                io.connection.enter(Phase::Service);
                ask(io, self.begun, self.pieces.finish())
            }
        }
    }
}

/// Takes the part of the body that has been read, without copying large pieces.
fn take_unread(io: &mut Io, receiving: &mut Receiving) {
    let mut head = io.buffers.head.borrow_mut();
    io.fresh = false;
    while let Some((skip, len)) = receiving.next(&mut io.protocol, &mut io.unread, &mut head) {
        io.unread.advance(skip);
        receiving.pieces.push(io.unread.split_to(len).freeze());
    }
    if receiving.state == State::Incomplete {
        return;
    }
    if io.unread.is_empty() {
        // Drop the handle, which would keep the buffer of the pieces allocated.
        io.unread = BytesMut::new();
    } else {
        // The bytes behind the body belong to the next request.
        io.fresh = receiving.state == State::Complete;
    }
}

/// Reads the rest of a body of known length, and nothing behind it.
fn poll_piece(
    io: &mut Io,
    receiving: &mut Receiving,
    left: u64,
    context: &mut Context<'_>,
) -> Poll<Result<(), Disconnect>> {
    let left = usize::try_from(left).unwrap_or(usize::MAX);
    if receiving.piece.len() == receiving.piece.capacity() {
        receiving.finish_piece();
        receiving.piece.reserve(left.min(BODY_PIECE_BYTES));
    }
    let start = receiving.piece.len();
    ready!(io.poll_read(&mut (&mut receiving.piece).limit(left), context))?;
    let mut head = io.buffers.head.borrow_mut();
    let mut piece = std::mem::take(&mut receiving.piece);
    receiving.next(&mut io.protocol, &mut piece[start..], &mut head);
    receiving.piece = piece;
    receiving.next(&mut io.protocol, &mut [], &mut head);
    if receiving.state == State::Complete {
        receiving.finish_piece();
    }
    Poll::Ready(Ok(()))
}

impl Receiving {
    /// Adds what was read of a body of known length to the pieces.
    fn finish_piece(&mut self) {
        self.pieces.push(std::mem::take(&mut self.piece).freeze());
    }
}

/// The pieces read so far. Small pieces in a row are joined.
#[derive(Debug, Default)]
struct Pieces {
    body: Body,
    joined: BytesMut,
}

impl Pieces {
    /// Adds a piece; one of at least [`CHUNK_JOIN_BYTES`] is not copied.
    fn push(&mut self, piece: Bytes) {
        if piece.len() < CHUNK_JOIN_BYTES {
            self.put(&piece);
        } else {
            self.flush();
            self.body.push(piece);
        }
    }

    /// Adds a copy of a piece.
    fn put(&mut self, piece: &[u8]) {
        self.joined.extend_from_slice(piece);
    }

    fn flush(&mut self) {
        if !self.joined.is_empty() {
            self.body.push(self.joined.split().freeze());
        }
    }

    fn finish(&mut self) -> Body {
        self.flush();
        std::mem::take(&mut self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_pieces_are_kept_as_they_are_and_small_ones_joined() {
        let large = Bytes::from(vec![7; CHUNK_JOIN_BYTES]);
        let mut pieces = Pieces::default();
        for piece in [Bytes::from_static(b"a"), "b".into(), "c".into(), large.clone(), "d".into(), "e".into()]
        {
            pieces.push(piece);
        }
        let body = pieces.finish();
        assert_eq!(body.as_slice(), [Bytes::from("abc"), large.clone(), "de".into()]);
        assert_eq!(body[1].as_ptr(), large.as_ptr());
    }

    #[test]
    fn single_bytes_do_not_cost_a_piece_each() {
        let mut pieces = Pieces::default();
        for _ in 0..100_000 {
            pieces.push(Bytes::from_static(b"x"));
        }
        let body = pieces.finish();
        assert_eq!((body.len(), body[0].len()), (1, 100_000));
    }
}
