//! One connection: reads all complete messages out of one buffer, writes all that is queued in one
//! vectored write.
//!
//! The task runs when bytes have come or when the first message of a batch was queued, which is
//! after the tasks that were ready then: they all get into the same write, but for a batch that is
//! full earlier, which whoever filled it writes (`Inner::flush_due`): the other end starts on it
//! while this one goes on.

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

/// What one read takes at most: more than most batches, and little enough to stay in a processor's
/// cache.
const READ_LEN: usize = 64 << 10;

/// A message that is longer gets memory of its own, into which the rest of it is read: room for all
/// of it when so much has come, since what is there would be copied whenever the buffer grows. Not
/// before: who claims a length need not send it.
const LONG: usize = SHARED_LEN_MAX;

/// So does one of which so much has come: it would be copied with every piece of it that comes.
const PIECE: usize = 4 << 10;

/// Reads before the other tasks of the worker get their turn.
const READS_PER_TURN: usize = 8;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Closed, by the peer or the network, after it had been a pipe.
    Closed,
    /// Closed, or left alone, before it was one: says nothing of the peer, which may be starting or
    /// behind a proxy.
    Unopened,
    /// The peer has sent from the beginning what is not the protocol.
    Foreign,
}

/// What became of a connection.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) end: End,
    pub(crate) failure: Failure,
}

/// The other end of a connection, as far as it is known before it says anything.
pub(crate) struct Peer {
    /// Its address, for logs.
    pub(crate) from: String,
    /// The endpoint's place in the configuration when this side dialled.
    pub(crate) dialled: Option<usize>,
    /// What it may claim; `None` is everything.
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

/// Closes the pipe however its task ends.
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
    #[error("the peer closed it")]
    Ended,
    #[error("the peer closed it within its opening or a message")]
    Truncated,
    #[error("no opening within {} s", OPENING_TIMEOUT.as_secs())]
    OpeningTimeout,
}

struct Pipe<'a> {
    inner: &'a Rc<Inner>,
    id: PipeId,
    transport: Transport,
    decoder: Decoder,
    /// What was read and is no whole message yet, or waits for its turn.
    partial: BytesMut,
    /// Until the peer's opening has come.
    opening: Option<Pin<Box<Sleep>>>,
    /// When what its hellos cost is paid off.
    paid_until: Instant,
    /// Nothing is read until then: the peer says hello too often.
    pause: Option<Pin<Box<Sleep>>>,
    /// What a peer that announces no limit may be sent.
    bucket: Bucket,
    /// Until it may be sent more.
    refill: Option<Pin<Box<Sleep>>>,
    dialled: Option<usize>,
    /// Messages of the last read wait until a subscriber has had its turn.
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
            // What the messages just read have caused goes out before the next read.
            match (read, self.poll_flush(cx)) {
                // From one that takes nothing any more there may still be replies to read, as far
                // as the end.
                (true, _) => {}
                (false, Poll::Ready(Err(error))) => return Poll::Ready(Failure::Io(error)),
                (false, _) => return Poll::Pending,
            }
            if self.left_over {
                break;
            }
        }
        // A peer that sends without end is one of many; and who takes its events is woken, but has
        // not run.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads, unless the peer has to wait for its hellos; what was left over of the last read comes
    /// first.
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

    /// What is missing of the message at the front of `buffer`, if it is one to be read where it
    /// lies.
    fn missing_of_long(&self, buffer: &BytesMut) -> Option<usize> {
        if buffer.is_empty() {
            return None;
        }
        let missing = self.decoder.missing(buffer);
        (missing > 0 && (buffer.len() > PIECE || buffer.len() + missing > LONG)).then_some(missing)
    }

    /// Reads into the memory that all pipes of the worker share: whoever has its turn finds it in
    /// the cache, and who has nothing to say holds none.
    fn poll_read_shared(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let inner = self.inner;
        let mut buffer = inner.read_buffer.borrow_mut();
        // Used again from its beginning, unless a message that lies in it is still in use: then as
        // long as half of it is left.
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

    /// Reads on where the message lies that is coming.
    fn poll_read_long(&mut self, cx: &mut Context<'_>, missing: usize) -> Poll<Result<(), Failure>> {
        let most = if self.partial.len() < LONG { READ_LEN } else { usize::MAX };
        self.partial.reserve(missing.min(most));
        let mut buffer = mem::take(&mut self.partial);
        let read = self.transport.poll_read(cx, &mut buffer);
        let outcome = read.map(|read| self.dispatch_read(read, &mut buffer));
        self.keep(buffer);
        outcome
    }

    /// Keeps what is left of `buffer`, and not the memory of the messages that it held.
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
        // Whatever came behind the opening: a pipe that ends at its first message was open as well.
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

    /// Writes no more at a time than the peer's queue holds.
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
    /// Counts and logs the end of a connection. About an endpoint that was dialled and did not
    /// answer as it should, `dialer` warns.
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
            // Among them a message over the limit, which the two sides have to agree on.
            Failure::Sp(_) if is_open => warn!(%peer, %failure, "pipe closed"),
            _ => debug!(%peer, %failure, "pipe closed"),
        }
    }
}
