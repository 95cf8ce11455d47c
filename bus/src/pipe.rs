//! One connection: reads all complete messages out of one buffer, writes all that is queued in one vectored write.
//!
//! The task runs when bytes have come or when the first message of a batch was queued, which is after the
//! tasks that were ready then: they all get into the same write.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bus_proto::limits::OPENING_TIMEOUT;
use bus_proto::sp::Decoder;
use bus_proto::{PipeId, SpError};
use bytes::BytesMut;
use tokio::time::Sleep;
use tracing::{debug, info, warn};

use crate::bus::Inner;
use crate::transport::Transport;

/// The read buffer starts small, for guests that say little, and grows while reads fill it.
const READ_LEN_MIN: usize = 4 << 10;
const READ_LEN_MAX: usize = 256 << 10;
/// Slices of one vectored write; Linux takes 1024, more than some dozens bring nothing.
const SLICES: usize = 64;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Closed, by the peer or the network, after it had been a pipe.
    Closed,
    /// Never became a pipe: the peer is not of our kind.
    Foreign,
}

/// Runs a connection to its end. `from` names the other side.
pub(crate) async fn run(inner: &Rc<Inner>, transport: Transport, from: String, dialled: bool) -> End {
    let id = inner.node.borrow_mut().open_pipe(Instant::now(), transport.framing());
    inner.pipe_opened(id, from, dialled);
    let guard = Guard { inner, id };
    let decoder = Decoder::new(transport.framing(), inner.config.limits.message_len_max);
    let mut pipe = Pipe {
        inner,
        id,
        transport,
        decoder,
        buffer: BytesMut::new(),
        read_len: READ_LEN_MIN,
        opening: Some(Box::pin(tokio::time::sleep(OPENING_TIMEOUT))),
    };
    let failure = poll_fn(|cx| pipe.poll(cx)).await;
    let is_open = pipe.decoder.is_open();
    inner.log_end(id, &failure, is_open);
    drop(guard);
    match failure {
        Failure::Io(_) | Failure::Ended | Failure::Truncated if is_open => End::Closed,
        _ => End::Foreign,
    }
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
#[derive(Debug)]
pub(crate) enum Failure {
    Io(io::Error),
    Sp(SpError),
    Ended,
    Truncated,
    OpeningTimeout,
}

struct Pipe<'a> {
    inner: &'a Rc<Inner>,
    id: PipeId,
    transport: Transport,
    decoder: Decoder,
    buffer: BytesMut,
    read_len: usize,
    /// Until the peer's opening has come.
    opening: Option<Pin<Box<Sleep>>>,
}

impl Pipe<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        if let Some(opening) = &mut self.opening
            && opening.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Failure::OpeningTimeout);
        }
        loop {
            let read = match self.poll_read(cx) {
                Poll::Ready(Ok(())) => true,
                Poll::Ready(Err(failure)) => return Poll::Ready(failure),
                Poll::Pending => false,
            };
            // What the messages just read have caused goes out before the next read.
            if let Poll::Ready(Err(error)) = self.poll_flush(cx) {
                return Poll::Ready(Failure::Io(error));
            }
            if !read {
                return Poll::Pending;
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let wanted = self.read_len.max(self.decoder.missing(&self.buffer).min(READ_LEN_MAX));
        if self.buffer.capacity() - self.buffer.len() < wanted / 2 {
            self.buffer.reserve(wanted);
        }
        let room = self.buffer.capacity() - self.buffer.len();
        match ready!(self.transport.poll_read(cx, &mut self.buffer)) {
            Ok(0) if self.buffer.is_empty() && self.decoder.is_open() => Poll::Ready(Err(Failure::Ended)),
            Ok(0) => Poll::Ready(Err(Failure::Truncated)),
            Ok(read) => {
                if read == room {
                    self.read_len = (self.read_len * 2).min(READ_LEN_MAX);
                }
                Poll::Ready(self.dispatch().map_err(Failure::Sp))
            }
            Err(error) => Poll::Ready(Err(Failure::Io(error))),
        }
    }

    fn dispatch(&mut self) -> Result<(), SpError> {
        let now = Instant::now();
        while let Some(message) = self.decoder.decode(&mut self.buffer)? {
            self.inner.handle_message(now, self.id, message);
        }
        if self.opening.is_some() && self.decoder.is_open() {
            self.opening = None;
            self.inner.node.borrow_mut().counters.pipes_opened += 1;
        }
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut node = self.inner.node.borrow_mut();
        let Some(pipe) = node.socket.pipe_mut(self.id) else { return Poll::Ready(Ok(())) };
        while !pipe.out.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = pipe.out.fill(&mut slices);
            let written = ready!(self.transport.poll_write(cx, &slices[..filled]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            pipe.out.advance(written);
        }
        pipe.await_message(cx.waker());
        Poll::Pending
    }
}

impl Inner {
    fn log_end(&self, id: PipeId, failure: &Failure, is_open: bool) {
        let peer = self.describe(id);
        let mut node = self.node.borrow_mut();
        match failure {
            Failure::Ended => info!(%peer, "pipe closed by the peer"),
            Failure::Io(error) if is_open => info!(%peer, %error, "pipe lost"),
            Failure::Truncated if is_open => {
                node.counters.rejected_truncated += 1;
                info!(%peer, "pipe closed by the peer within a message");
            }
            Failure::Io(_) | Failure::Truncated => {
                node.counters.rejected_truncated += 1;
                debug!(%peer, "closed before its opening was complete");
            }
            Failure::Sp(error) => {
                node.count_stream_error(*error);
                warn!(%peer, %error, "pipe closed");
            }
            Failure::OpeningTimeout => {
                node.counters.rejected_opening_timeout += 1;
                warn!(%peer, "no opening within {} s, closed", OPENING_TIMEOUT.as_secs());
            }
        }
    }
}
