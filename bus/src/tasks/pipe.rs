//! One connection: reads all complete messages from one buffer, and writes all queued messages in
//! one vectored write.
//!
//! The task runs when bytes have arrived, or when the first message of a batch was queued. It then
//! runs after all tasks that were ready, so their messages share one write. A batch that is full
//! earlier is written by the task that filled it (`Inner::flush_due`), so that the peer can start
//! on it.

use std::future::poll_fn;
use std::io;
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bus_proto::bucket::Bucket;
use bus_proto::limits::{HELLO_BYTE_COST, HELLO_COST, HELLO_DEBT_MAX, OPENING_TIMEOUT, SHARED_LEN_MAX};
use bus_proto::sp::Decoder;
use bus_proto::{Claims, PipeId, SpError};
use bytes::BytesMut;
use tokio::time::Sleep;
use tracing::{debug, info, warn};

use crate::io::transport::Transport;
use crate::state::inner::{Inner, Other};
use crate::state::places::Place;
use crate::tasks::dispatch::Handled;

/// Upper bound of one read: more than most batches, and small enough for a processor's cache.
const READ_LEN: usize = 64 << 10;

/// A longer message gets its own buffer, which the rest of it is read into. Once [`LONG`] bytes
/// have arrived, the buffer has the message's full length, so the bytes are not copied as it grows.
/// Before that it grows by at most [`READ_LEN`] at a time, because a peer may announce a length and
/// not send it.
const LONG: usize = SHARED_LEN_MAX;

/// A partial message above this size gets its own buffer too, so it is not copied again with every
/// further piece.
const PIECE: usize = 4 << 10;

/// Reads before the other tasks of the worker run.
const READS_PER_TURN: usize = 8;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Closed by the peer or the network, after the opening.
    Closed,
    /// Closed, or no data received, before the opening. The peer may be starting, or be behind a
    /// proxy, so it is not known to be foreign.
    Unopened,
    /// The first bytes of the peer are not the protocol.
    Foreign,
}

/// The result of a connection.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) end: End,
    pub(crate) failure: Failure,
}

/// What is known of a connection's peer before its first message.
pub(crate) struct Peer {
    /// Its address, for logs.
    pub(crate) from: String,
    /// The endpoint's number in `dials` when this side dialled.
    pub(crate) dialled: Option<usize>,
    /// The accepted claims; `None` accepts every claim.
    pub(crate) claims: Option<Arc<Claims>>,
    pub(crate) place: Place,
    /// Called whenever the peer says that it drains.
    pub(crate) drains: Option<Rc<dyn Fn()>>,
}

/// Runs a connection to its end.
pub(crate) async fn run(inner: &Rc<Inner>, transport: Transport, peer: Peer) -> Ended {
    let Peer { from, dialled, claims, place: _place, drains } = peer;
    let id = inner.node.borrow_mut().open_pipe(Instant::now(), transport.framing());
    inner.node.borrow_mut().restrict(id, claims);
    inner.pipe_opened(id, Other::new(from, dialled, Rc::clone(transport.writer()), drains));
    let guard = Guard { inner, id };
    let decoder = Decoder::new(transport.framing(), inner.config.limits.message_len_max);
    let mut pipe = Pipe {
        inner,
        id,
        transport,
        decoder,
        partial: BytesMut::new(),
        opening: Some(Box::pin(tokio::time::sleep(OPENING_TIMEOUT))),
        paid_until: Instant::now(),
        pause: None,
        bucket: Bucket::new(Instant::now()),
        refill: None,
        dialled,
        left_over: false,
    };
    let failure = poll_fn(|cx| pipe.poll(cx)).await;
    let is_open = pipe.decoder.is_open();
    inner.log_end(id, &failure, is_open);
    drop(guard);
    let end = match failure {
        _ if is_open => End::Closed,
        Failure::Sp(_) => End::Foreign,
        _ => End::Unopened,
    };
    Ended { end, failure }
}

/// Closes the pipe when its task ends for any reason.
struct Guard<'a> {
    inner: &'a Rc<Inner>,
    id: PipeId,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.inner.pipe_closed(self.id);
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Io(io::Error),
    #[error(transparent)]
    Sp(SpError),
    #[error("the peer closed the connection")]
    Ended,
    #[error("the peer closed the connection within its opening or a message")]
    Truncated,
    #[error("no opening within {} s", OPENING_TIMEOUT.as_secs())]
    OpeningTimeout,
}

struct Pipe<'a> {
    inner: &'a Rc<Inner>,
    id: PipeId,
    transport: Transport,
    decoder: Decoder,
    /// Bytes that were read and are not a complete message yet, or wait to be handled.
    partial: BytesMut,
    /// The time limit of the peer's opening; `None` after the opening.
    opening: Option<Pin<Box<Sleep>>>,
    /// The time at which the cost of the peer's hellos is paid off.
    paid_until: Instant,
    /// Reading pauses until then, because the peer sends hellos too often.
    pause: Option<Pin<Box<Sleep>>>,
    /// Limits what is sent to a peer that announces no limit.
    bucket: Bucket,
    /// Sending pauses until then.
    refill: Option<Pin<Box<Sleep>>>,
    dialled: Option<usize>,
    /// True when messages of the last read wait until a subscriber has run.
    left_over: bool,
}

impl Pipe<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        if let Some(opening) = &mut self.opening
            && opening.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Failure::OpeningTimeout);
        }
        for _ in 0..READS_PER_TURN {
            let read = match self.poll_input(cx) {
                Poll::Ready(Ok(())) => true,
                Poll::Ready(Err(failure)) => return Poll::Ready(failure),
                Poll::Pending => false,
            };
            // What the messages just read have caused is written before the next read.
            match (read, self.poll_flush(cx)) {
                // After a failed write there may still be replies to read, up to the end of the
                // stream.
                (true, _) => {}
                (false, Poll::Ready(Err(error))) => return Poll::Ready(Failure::Io(error)),
                (false, _) => return Poll::Pending,
            }
            if self.left_over {
                break;
            }
        }
        // Yields, because a peer that sends without pause must not starve the others, and a woken
        // subscriber must run.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads, unless reading pauses. Messages left over from the last read are handled first.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        } else if !mem::take(&mut self.left_over) {
            return self.poll_read(cx);
        }
        let mut buffer = mem::take(&mut self.partial);
        let dispatched = self.dispatch(&mut buffer);
        self.keep(buffer);
        Poll::Ready(dispatched.map_err(Failure::Sp))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        match self.missing_of_long(&self.partial) {
            None => self.poll_read_shared(cx),
            Some(missing) => self.poll_read_long(cx, missing),
        }
    }

    /// The number of bytes missing from the message at the front of `buffer`, if that message needs
    /// its own buffer.
    fn missing_of_long(&self, buffer: &BytesMut) -> Option<usize> {
        if buffer.is_empty() {
            return None;
        }
        let missing = self.decoder.missing(buffer);
        (missing > 0 && (buffer.len() > PIECE || buffer.len() + missing > LONG)).then_some(missing)
    }

    /// Reads into the buffer that all pipes of the worker share: it stays in the cache, and an idle
    /// pipe holds no buffer.
    fn poll_read_shared(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let inner = self.inner;
        let mut buffer = inner.read_buffer.borrow_mut();
        // The buffer is reused from its beginning, unless a message in it is still in use. Then
        // reading continues as long as half of the buffer is free.
        let used = READ_LEN - buffer.capacity().min(READ_LEN) + self.partial.len();
        if used > READ_LEN / 4 && !buffer.try_reclaim(READ_LEN) && used > READ_LEN / 2 {
            *buffer = BytesMut::with_capacity(READ_LEN);
        }
        if !self.partial.is_empty() {
            buffer.extend_from_slice(&self.partial);
        }
        let Poll::Ready(read) = self.transport.poll_read(cx, &mut buffer) else {
            buffer.clear();
            return Poll::Pending;
        };
        if !self.partial.is_empty() {
            self.partial = BytesMut::new();
        }
        let outcome = self.dispatch_read(read, &mut buffer);
        if self.left_over {
            self.partial = mem::take(&mut *buffer);
        } else if !buffer.is_empty() {
            self.partial = BytesMut::from(&buffer[..]);
            buffer.clear();
        }
        Poll::Ready(outcome)
    }

    /// Reads the rest of a long message into its own buffer.
    fn poll_read_long(&mut self, cx: &mut Context<'_>, missing: usize) -> Poll<Result<(), Failure>> {
        let most = if self.partial.len() < LONG { READ_LEN } else { usize::MAX };
        self.partial.reserve(missing.min(most));
        let mut buffer = mem::take(&mut self.partial);
        let read = self.transport.poll_read(cx, &mut buffer);
        let outcome = read.map(|read| self.dispatch_read(read, &mut buffer));
        self.keep(buffer);
        outcome
    }

    /// Keeps the unhandled rest of `buffer` without the memory of the handled messages.
    fn keep(&mut self, buffer: BytesMut) {
        let stays = self.left_over || self.missing_of_long(&buffer).is_some();
        self.partial = if stays { buffer } else { BytesMut::from(&buffer[..]) };
    }

    fn dispatch_read(&mut self, read: io::Result<usize>, buffer: &mut BytesMut) -> Result<(), Failure> {
        match read {
            Ok(0) if buffer.is_empty() && self.decoder.is_open() => Err(Failure::Ended),
            Ok(0) => Err(Failure::Truncated),
            Ok(_) => self.dispatch(buffer).map_err(Failure::Sp),
            Err(error) => Err(Failure::Io(error)),
        }
    }

    fn dispatch(&mut self, buffer: &mut BytesMut) -> Result<(), SpError> {
        let now = Instant::now();
        let mut taken = Ok(());
        while self.pause.is_none() {
            let message = match self.decoder.decode(buffer) {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(error) => {
                    taken = Err(error);
                    break;
                }
            };
            let len = message.len();
            match self.inner.handle_message(now, self.id, message) {
                Handled::Done => {}
                Handled::Hello => self.charge_hello(now, len),
                Handled::Behind => {
                    self.left_over = true;
                    break;
                }
            }
        }
        // This comes after the messages, even if one of them was an error: the pipe was open before
        // it ended.
        if self.opening.is_some() && self.decoder.is_open() {
            self.opened();
        }
        taken
    }

    #[cold]
    fn opened(&mut self) {
        self.opening = None;
        self.inner.node.borrow_mut().counters.pipes_opened += 1;
        if let Some(at) = self.dialled {
            self.inner.dials.borrow_mut().opened(at);
            info!(peer = %self.inner.describe(self.id), "dialled");
        }
    }

    fn charge_hello(&mut self, now: Instant, len: usize) {
        let cost = HELLO_COST + HELLO_BYTE_COST * u32::try_from(len).unwrap_or(u32::MAX);
        self.paid_until = self.paid_until.max(now) + cost;
        let debt = self.paid_until.saturating_duration_since(now);
        if debt > HELLO_DEBT_MAX {
            self.inner.node.borrow_mut().counters.hellos_slowed += 1;
            self.pause = Some(Box::pin(tokio::time::sleep(debt - HELLO_DEBT_MAX)));
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut node = self.inner.node.borrow_mut();
        let Some(pipe) = node.socket.pipe_mut(self.id) else { return Poll::Ready(Ok(())) };
        if pipe.paced {
            drop(node);
            return self.poll_flush_paced(cx);
        }
        if !pipe.out.is_empty() {
            ready!(self.transport.writer().poll_flush(cx, &mut pipe.out))?;
        }
        pipe.await_message(cx.waker());
        Poll::Pending
    }

    /// Writes at most as many messages at once as the peer's queue holds.
    #[cold]
    fn poll_flush_paced(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if let Some(refill) = &mut self.refill {
                ready!(refill.as_mut().poll(cx));
                self.refill = None;
            }
            let now = Instant::now();
            let node = &mut *self.inner.node.borrow_mut();
            let Some(pipe) = node.socket.pipe_mut(self.id) else { return Poll::Ready(Ok(())) };
            if pipe.out.is_empty() {
                pipe.await_message(cx.waker());
                return Poll::Pending;
            }
            let (available, waiting) = (self.bucket.available(now), pipe.out.messages());
            if available == 0 {
                node.counters.guests_paced += 1;
                self.refill = Some(Box::pin(tokio::time::sleep(self.bucket.wait(now))));
                continue;
            }
            pipe.out.hold_behind(available);
            let flushed = self.transport.writer().poll_flush(cx, &mut pipe.out);
            self.bucket.spend(now, waiting - pipe.out.messages());
            ready!(flushed)?;
        }
    }
}

impl Inner {
    /// Counts and logs the end of a connection. `dialer` logs the failure of a dialled endpoint.
    fn log_end(&self, id: PipeId, failure: &Failure, is_open: bool) {
        let peer = self.describe(id);
        let mut node = self.node.borrow_mut();
        match failure {
            Failure::Sp(error) => node.count_stream_error(*error),
            Failure::OpeningTimeout => node.counters.rejected_opening_timeout += 1,
            Failure::Truncated => node.counters.rejected_truncated += 1,
            Failure::Io(_) if !is_open => node.counters.rejected_truncated += 1,
            Failure::Ended | Failure::Io(_) => {}
        }
        match failure {
            Failure::Ended | Failure::Io(_) if is_open => info!(%peer, %failure, "pipe closed"),
            // This includes a message above the limit, which must be the same on both sides.
            Failure::Sp(_) if is_open => warn!(%peer, %failure, "pipe closed"),
            _ => debug!(%peer, %failure, "pipe closed"),
        }
    }
}
