//! The task of one connection: with hyper while there is something to do, without it while no byte comes.
//!
//! Owns: the loop from the first byte to the last, and what is done when it ends. Does not: answer requests (`forward`),
//! nor look at the clock (`sweep`). Invariant: an order of the sweep or of the drain is taken at the next poll, wherever the
//! task waits.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;

use super::tap::Tap;
use super::{Connection, Order, Phase, Stream, answer_bare};
use crate::forward::forward;
use crate::rescue::Refusal;

/// How hyper's turn ended.
enum Turn {
    /// Between two requests, and none comes.
    Rest,
    Expired,
    Ended(hyper::Result<()>),
}

/// Serves a connection: without hyper while no byte comes, since hyper keeps 16 KiB of buffers.
pub(super) async fn serve(connection: &Rc<Connection>, stream: Stream) {
    let mut tap = Tap::new(stream, Rc::clone(connection));
    let ended = loop {
        match rest(connection, &tap).await {
            None => {}
            Some(Order::Drain | Order::Rest) => break Turn::Ended(Ok(())),
            Some(Order::Expire) => break Turn::Expired,
        }
        let turn;
        (turn, tap) = work(connection, tap).await;
        if !matches!(turn, Turn::Rest) {
            break turn;
        }
        connection.worker.stats.connections_rested.increment();
        if connection.worker.draining() {
            // The hyper that knew is gone.
            connection.order.set(Some(Order::Drain));
        }
    };
    let stream = tap.into_stream();
    match ended {
        Turn::Expired => expired(connection, &stream),
        Turn::Ended(Ok(())) if connection.unread.get() => linger(connection, stream).await,
        Turn::Ended(Err(error)) if error.is_parse() => linger(connection, stream).await,
        Turn::Ended(Err(error)) => {
            let (worker, client) = (connection.worker.id, &connection.peer.text);
            tracing::debug!(worker, %client, %error, "connection ended");
        }
        Turn::Ended(Ok(())) | Turn::Rest => {}
    }
}

/// Waits for a byte of the client; an order that ends the wait before.
async fn rest(connection: &Connection, tap: &Tap) -> Option<Order> {
    connection.resting.set(true);
    let order = poll_fn(|context| {
        connection.keep_waker(context.waker());
        match connection.order.take().filter(|order| *order != Order::Rest) {
            Some(order) => Poll::Ready(Some(order)),
            None => tap.poll_readable(context).map(|()| None),
        }
    })
    .await;
    connection.resting.set(false);
    order
}

/// Lets hyper serve until the end, or until the connection may rest.
async fn work(connection: &Rc<Connection>, tap: Tap) -> (Turn, Tap) {
    let of_requests = Rc::clone(connection);
    let service = service_fn(move |request| forward(Rc::clone(&of_requests), request));
    let http = connection.worker.http.serve_connection(TokioIo::new(tap), service);
    // On the heap, so that a connection that rests does without.
    let mut http = Box::new(http);
    let turn = poll_fn(|context| {
        connection.keep_waker(context.waker());
        match connection.order.take() {
            Some(Order::Drain) => Pin::new(&mut *http).graceful_shutdown(),
            Some(Order::Expire) => return Poll::Ready(Turn::Expired),
            Some(Order::Rest) if connection.settled() && connection.phase.get() == Phase::Idle => {
                return Poll::Ready(Turn::Rest);
            }
            Some(Order::Rest) | None => {}
        }
        Pin::new(&mut *http).poll(context).map(Turn::Ended)
    })
    .await;
    let parts = http.into_parts();
    let mut tap = parts.io.into_inner();
    tap.unread(parts.read_buf);
    (turn, tap)
}

fn expired(connection: &Connection, stream: &Stream) {
    let worker = &connection.worker;
    worker.stats.connections_timed_out.increment();
    if connection.phase.get() == Phase::Head {
        answer_bare(worker, stream, &Refusal::HeadTimeout { limit: worker.config.limits.header_timeout });
    }
}

/// Reads and throws away what the client still sends, so that closing does not reset the connection before the
/// response has been read. The sweep ends it.
async fn linger(connection: &Connection, mut stream: Stream) {
    connection.enter(Phase::Linger);
    let mut thrown_away = vec![0; 4096];
    let mut read = poll_read_or_expire(connection, &mut stream, &mut thrown_away).await;
    while matches!(read, Some(Ok(1..))) {
        read = poll_read_or_expire(connection, &mut stream, &mut thrown_away).await;
    }
}

async fn poll_read_or_expire(
    connection: &Connection,
    stream: &mut Stream,
    buffer: &mut [u8],
) -> Option<io::Result<usize>> {
    let mut read = std::pin::pin!(stream.read(buffer));
    poll_fn(|context| {
        connection.keep_waker(context.waker());
        match connection.order.take() {
            Some(_) => Poll::Ready(None),
            None => read.as_mut().poll(context).map(Some),
        }
    })
    .await
}
