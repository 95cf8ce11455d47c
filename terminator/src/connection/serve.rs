//! The task of one connection: one request after the other, then the end.
//!
//! Owns: the loop from the first byte to the last, and what is done when it ends. Does not: look at the clock (`sweep`).
//! Invariant: an order of the sweep or of the drain is taken at the next poll, wherever the task waits.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;

use http1::Phase;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::io::{End, Io, Next, Ready};
use super::{Order, answer_bare, body};
use crate::rescue::Refusal;

/// Serves a connection to its end.
pub(super) async fn serve(io: &mut Io) {
    let end = loop {
        if let Err(end) = serve_one(io).await {
            break end;
        }
    };
    let (worker, client) = (&io.connection.worker, &io.connection.peer.text);
    match end {
        End::Closed if io.lingers || !io.unread.is_empty() || io.stream.has_unread() => {
            Box::pin(linger(io)).await;
        }
        End::Closed => {}
        End::Expired => expired(io),
        End::Broken => tracing::debug!(worker = worker.id, %client, "a response broke off"),
        End::Gone(error) => tracing::debug!(worker = worker.id, %client, %error, "ended by its client"),
    }
}

/// Serves one request; `Err` when the connection ends with it.
async fn serve_one(io: &mut Io) -> Result<(), End> {
    let ready = match poll_fn(|context| io.poll_request(context)).await? {
        Next::Ready(ready) => ready,
        // On the heap: most bodies come with their heads.
        Next::Body(receiving) => Box::pin(body::receive(io, receiving)).await?,
    };
    let mut outgoing = match ready {
        Ready::Respond(outgoing) => outgoing,
        Ready::Ask(mut place) => {
            let outgoing = poll_fn(|context| io.poll_answer(&mut place, context)).await?;
            io.connection.worker.buffers.give_back_place(place);
            outgoing
        }
    };
    poll_fn(|context| outgoing.poll(io, context)).await
}

fn expired(io: &Io) {
    let worker = &io.connection.worker;
    worker.stats.connections_timed_out.increment();
    if io.connection.phase.get() == Phase::Head {
        let limit = worker.config.limits.timeouts.head;
        answer_bare(&io.connection, &io.stream, &Refusal::HeadTimeout { limit });
    }
}

/// Says that nothing more comes, then reads and throws away what the client still sends, so that closing does not reset the
/// connection before the response has been read (RFC 9112 section 9.6). The sweep ends it.
async fn linger(io: &mut Io) {
    io.connection.enter(Phase::Linger);
    // A client that is gone by now has nothing left to read.
    let _ = io.stream.shutdown().await;
    let mut thrown_away = vec![0; 4096];
    while matches!(read_or_expire(io, &mut thrown_away).await, Some(Ok(1..))) {}
}

/// Reads; `None` when the time for it is up. A drain does not end that: it is what keeps the response whole.
async fn read_or_expire(io: &mut Io, buffer: &mut [u8]) -> Option<io::Result<usize>> {
    let mut read = pin!(io.stream.read(buffer));
    poll_fn(|context| match io.connection.take_order(context.waker()) {
        Some(Order::Expire) => Poll::Ready(None),
        Some(Order::Drain) | None => read.as_mut().poll(context).map(Some),
    })
    .await
}
