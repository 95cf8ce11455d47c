//! The body of a request that did not come with its head.
//!
//! Owns: the limits of a body that is wanted and of one that is thrown away, and the joining of
//! small pieces. Does not: copy large ones. Invariant: at most `limit / CHUNK_JOIN_BYTES * 2 + 2`
//! pieces, whatever the client sends.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bus::Body;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http1::{Event, Head, Limits, Phase, Step};
use tokio::io::AsyncWrite;
use tokio::time::Sleep;

use super::Order;
use super::answering::{Ready, answer, ask};
use super::io::{End, Io};
use crate::forward::Begun;
use crate::limits::{BODY_PIECE_BYTES, CHUNK_JOIN_BYTES, DISCARD_BYTES, DISCARD_TIME};
use crate::rescue::Refusal;

/// A request whose body is being read.
#[derive(Debug)]
pub(super) struct Receiving {
    begun: Begun,
    pieces: Pieces,
    /// Of a known length: what the client sends next is read straight into it.
    piece: BytesMut,
    limits: Limits,
    state: State,
    /// Set when the request is already refused: how long its body is read and discarded, so that
    /// the connection can be reused.
    discarding: Option<Pin<Box<Sleep>>>,
    /// Bytes of `100 Continue` that have been written.
    continue_written: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Coming,
    Whole,
    /// It is wrong, too long, or too late.
    GivenUp(Refusal),
}

impl Receiving {
    /// The body of a request that has begun; nothing of it has been read.
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
            state: State::Coming,
            discarding,
            continue_written: 0,
        }
    }

    /// Takes what of the body is at the front of `input`, by copying it; how much of that has been
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

    /// The next bytes of the body at the front of `input`, if there are any: how many are before
    /// them, and how many they are.
    fn next(
        &mut self,
        protocol: &mut http1::Connection,
        input: &mut [u8],
        head: &mut Head,
    ) -> Option<(usize, usize)> {
        if self.state != State::Coming {
            return None;
        }
        let step =
            protocol.check_length(&self.limits).and_then(|()| protocol.receive(input, head, &self.limits));
        match step {
            Ok(Step { skip, event: Some(Event::Data(len)) }) => Some((skip, len)),
            // The envelope has no place for trailers.
            Ok(Step { skip, event: Some(Event::Trailer(len)) }) => Some((skip + len, 0)),
            Ok(Step { skip, event: Some(Event::End) }) => {
                self.state = State::Whole;
                Some((skip, 0))
            }
            Ok(Step { skip, .. }) => (skip > 0).then_some((skip, 0)),
            Err(error) => {
                self.state = State::GivenUp(error.into());
                None
            }
        }
    }
}

impl Receiving {
    /// Reads the body to its end, or to where it is given up.
    pub(super) fn poll(&mut self, io: &mut Io, context: &mut Context<'_>) -> Poll<Result<(), End>> {
        let expired = io.connection.take_order(context.waker()) == Some(Order::Expire);
        if expired && self.begun.wants_body() {
            let limit = io.connection.worker.config.limits.timeouts.body;
            self.state = State::GivenUp(Refusal::BodyTimeout { limit });
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_continue(io, context))?;
        loop {
            take_unread(io, self);
            if self.state != State::Coming {
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
                Err(End::Closed) => {
                    let ended = io.protocol.end_of_input();
                    self.state = State::GivenUp(ended.expect_err("a body was to come").into());
                }
                Err(end) => return Poll::Ready(Err(end)),
            }
        }
    }

    /// Tells a client that waits for it to send the body.
    fn poll_continue(&mut self, io: &mut Io, context: &mut Context<'_>) -> Poll<Result<(), End>> {
        while self.state == State::Coming && io.protocol.expects_continue() {
            let rest = &http1::CONTINUE[self.continue_written..];
            let written = ready!(Pin::new(&mut io.stream).poll_write(context, rest)).map_err(End::Gone)?;
            io.wrote(written);
            self.continue_written += written;
            if self.continue_written == http1::CONTINUE.len() {
                io.protocol.continued();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// What is done with the request: a service is asked, or it is answered.
    pub(super) fn finish(mut self, io: &mut Io) -> Ready {
        if self.state != State::Whole {
            io.protocol.end();
        }
        match self.state {
            State::GivenUp(refusal) if self.begun.wants_body() => {
                Ready::Response(answer(io, self.begun.refuse(refusal)))
            }
            _ => {
                io.connection.enter(Phase::Service);
                ask(io, self.begun, self.pieces.finish())
            }
        }
    }
}

/// Takes what of the body has been read already.
fn take_unread(io: &mut Io, receiving: &mut Receiving) {
    let worker = &io.connection.worker;
    let mut head = worker.buffers.head.borrow_mut();
    io.fresh = false;
    while let Some((skip, len)) = receiving.next(&mut io.protocol, &mut io.unread, &mut head) {
        io.unread.advance(skip);
        receiving.pieces.push(io.unread.split_to(len).freeze());
    }
    if receiving.state == State::Coming {
        return;
    }
    if io.unread.is_empty() {
        // Drop the handle: it would keep the pieces' buffer alive.
        io.unread = BytesMut::new();
    } else {
        // What is behind the body is a further request's.
        io.fresh = receiving.state == State::Whole;
    }
}

/// Reads what is left of a body of known length, and nothing behind it.
fn poll_piece(
    io: &mut Io,
    receiving: &mut Receiving,
    left: u64,
    context: &mut Context<'_>,
) -> Poll<Result<(), End>> {
    let left = usize::try_from(left).unwrap_or(usize::MAX);
    if receiving.piece.len() == receiving.piece.capacity() {
        receiving.finish_piece();
        receiving.piece.reserve(left.min(BODY_PIECE_BYTES));
    }
    let start = receiving.piece.len();
    ready!(io.poll_read(&mut (&mut receiving.piece).limit(left), context))?;
    let worker = &io.connection.worker;
    let mut head = worker.buffers.head.borrow_mut();
    let mut piece = std::mem::take(&mut receiving.piece);
    receiving.next(&mut io.protocol, &mut piece[start..], &mut head);
    receiving.piece = piece;
    receiving.next(&mut io.protocol, &mut [], &mut head);
    if receiving.state == State::Whole {
        receiving.finish_piece();
    }
    Poll::Ready(Ok(()))
}

impl Receiving {
    fn finish_piece(&mut self) {
        self.pieces.push(std::mem::take(&mut self.piece).freeze());
    }
}

/// Pieces read so far; the small ones at the end joined.
#[derive(Debug, Default)]
struct Pieces {
    body: Body,
    joined: BytesMut,
}

impl Pieces {
    /// Adds a piece; a large one is kept as it is.
    fn push(&mut self, piece: Bytes) {
        if piece.len() < CHUNK_JOIN_BYTES {
            self.put(&piece);
        } else {
            self.flush();
            self.body.push(piece);
        }
    }

    /// Adds a copy.
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
