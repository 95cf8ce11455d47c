//! The task of one connection: what is plain it serves itself (`plain`), for everything else it has hyper as long as that
//! has something to do.
//!
//! Owns: the loop from the first byte to the last, and what is done when it ends. Does not: answer requests (`forward`),
//! nor look at the clock (`sweep`). Invariant: an order of the sweep or of the drain is taken at the next poll, wherever the
//! task waits.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use http::{Request, header};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::plain::{End, plain};
use super::slot::Slot;
use super::tap::Tap;
use super::{Connection, Order, Phase, Stream, answer_bare};
use crate::forward::{self, Begun, Sent};
use crate::request::StartLine;
use crate::rescue::Refusal;
use crate::response::Answer;

/// How a turn ended.
enum Turn {
    /// hyper has nothing left to do.
    Idle,
    /// Between two requests, and none comes.
    Rest,
    /// A request waits for its reply, and none comes.
    Wait,
    Expired,
    /// The client left while its request waited, or its socket failed.
    Gone(io::Result<()>),
    Ended(hyper::Result<()>),
}

/// Serves a connection; while no byte comes it keeps nothing but the socket and what is known of it.
pub(super) async fn serve(connection: &Rc<Connection>, tap: &mut Tap) {
    let ended = loop {
        match rest(connection, tap).await {
            None => {}
            Some(Order::Drain | Order::Rest) => break Turn::Ended(Ok(())),
            Some(Order::Expire) => break Turn::Expired,
        }
        // On the heap, so that a connection that rests does without.
        let turn = Box::pin(work(connection, tap)).await;
        if !matches!(turn, Turn::Rest) {
            break turn;
        }
        connection.worker.stats.connections_rested.increment();
        if connection.worker.draining() {
            // The hyper that knew is gone.
            connection.order.set(Some(Order::Drain));
        }
    };
    let stream = tap.stream();
    let (worker, client) = (connection.worker.id, &connection.peer.text);
    match ended {
        Turn::Expired => expired(connection, stream),
        Turn::Ended(Ok(())) if connection.unread.get() || stream.has_unread() => {
            Box::pin(linger(connection, stream)).await;
        }
        Turn::Ended(Err(error)) if error.is_parse() => Box::pin(linger(connection, stream)).await,
        Turn::Ended(Err(error)) => tracing::debug!(worker, %client, %error, "connection ended"),
        Turn::Gone(outcome) => {
            tracing::debug!(worker, %client, ?outcome, "connection ended by its client")
        }
        Turn::Ended(Ok(())) | Turn::Idle | Turn::Rest | Turn::Wait => {}
    }
}

/// Waits for a byte of the client; an order that ends the wait before.
async fn rest(connection: &Connection, tap: &Tap) -> Option<Order> {
    connection.resting.set(true);
    let order = poll_fn(|context| {
        connection.keep_waker(context.waker());
        match connection.order.take() {
            Some(Order::Drain) if !tap.has_unread() => Poll::Ready(Some(Order::Drain)),
            Some(Order::Expire) => Poll::Ready(Some(Order::Expire)),
            // What came before a drain is served, and is the last.
            Some(Order::Drain | Order::Rest) | None => tap.poll_readable(context).map(|()| None),
        }
    })
    .await;
    connection.resting.set(false);
    order
}

/// Serves until the end, or until the connection may rest; the request under way ends with it. A request that waits long
/// for its reply does so without hyper.
async fn work(connection: &Rc<Connection>, tap: &mut Tap) -> Turn {
    let place = pin!(None);
    let slot = Slot::new(place);
    let begin = |begun, body| slot.begin(forward::finish(begun, body));
    loop {
        match plain(connection, tap, &slot, begin).await {
            End::Other => {
                match with_hyper(connection, tap, &slot, begin).await {
                    Turn::Idle => continue,
                    Turn::Wait => {}
                    turn => return turn,
                }
                connection.worker.stats.requests_rested.increment();
                if let Err(gone) = wait(connection, tap, &slot).await {
                    return gone;
                }
            }
            End::Parts => {}
            End::Rest => return Turn::Rest,
            End::Expired => return Turn::Expired,
            End::Closed => return Turn::Ended(Ok(())),
            End::Gone(outcome) => return Turn::Gone(outcome),
        }
        let mut replay = connection.replay.get();
        // The hyper that knew is gone.
        replay.persists &= !connection.worker.draining();
        tap.replay(replay);
    }
}

/// Lets hyper serve until the end, or until it only holds its buffers: between two requests at once, behind half a head or
/// with a request that waits after a while.
async fn with_hyper<F: Future<Output = Answer>>(
    connection: &Rc<Connection>,
    tap: &mut Tap,
    slot: &Slot<'_, F>,
    begin: impl Fn(Begun, Sent),
) -> Turn {
    let service = service_fn(|request: Request<Incoming>| {
        // One that is answered already is not this request, which only says so (`replay`).
        if !slot.is_answered() {
            let (parts, incoming) = request.into_parts();
            let begun = forward::begin(connection, &StartLine::from(&parts), &parts.headers);
            let sent = match incoming {
                none if none.is_end_stream() => Sent::Nothing,
                body if parts.headers.contains_key(header::EXPECT) => Sent::Expected(body),
                body => Sent::Coming(body),
            };
            slot.use_again(parts.headers);
            begin(begun, sent);
        }
        slot.response()
    });
    let io = TokioIo::new(&mut *tap);
    let http = &connection.worker.http;
    let http = if connection.worker.draining() {
        // Not told of the drain when it has read nothing yet: it would close.
        http.clone().keep_alive(false).serve_connection(io, service)
    } else {
        http.serve_connection(io, service)
    };
    // On the heap, so that a request that waits does without.
    let mut http = Box::new(http);
    let turn = poll_fn(|context| {
        connection.keep_waker(context.waker());
        match connection.order.take() {
            Some(Order::Drain) => Pin::new(&mut *http).graceful_shutdown(),
            Some(Order::Expire) => return Poll::Ready(Turn::Expired),
            Some(Order::Rest) if connection.is_idle() => return Poll::Ready(Turn::Rest),
            Some(Order::Rest) if connection.is_waiting() => return Poll::Ready(Turn::Wait),
            Some(Order::Rest) | None => {}
        }
        let ended = Pin::new(&mut *http).poll(context).map(Turn::Ended);
        if ended.is_pending() && connection.is_idle() && connection.between.get() {
            // The next request may be a plain one; and when many are answered at once that rested, the next one's buffers are
            // these, not further ones.
            return Poll::Ready(Turn::Idle);
        }
        ended
    })
    .await;
    let unused = http.into_parts().read_buf;
    tap.unread(&unused);
    turn
}

/// Waits until the slot keeps the answer; `Err` when the client leaves before.
async fn wait<F: Future<Output = Answer>>(
    connection: &Connection,
    tap: &Tap,
    slot: &Slot<'_, F>,
) -> Result<(), Turn> {
    connection.resting.set(true);
    let waited = poll_fn(|context| {
        connection.keep_waker(context.waker());
        // A drain is known to the worker as well, and no time-out of a client is for this phase.
        connection.order.take();
        match tap.poll_gone(context) {
            Poll::Ready(read) => Poll::Ready(Err(Turn::Gone(read))),
            Poll::Pending => slot.poll_kept(context).map(Ok),
        }
    })
    .await;
    connection.resting.set(false);
    waited
}

fn expired(connection: &Connection, stream: &Stream) {
    let worker = &connection.worker;
    worker.stats.connections_timed_out.increment();
    if connection.phase.get() == Phase::Head {
        answer_bare(worker, stream, &Refusal::HeadTimeout { limit: worker.config.limits.header_timeout });
    }
}

/// Says that nothing more comes, then reads and throws away what the client still sends, so that closing does not reset the
/// connection before the response has been read (RFC 9112 section 9.6). The sweep ends it.
async fn linger(connection: &Connection, stream: &mut Stream) {
    connection.enter(Phase::Linger);
    // hyper may have done so. A client that is gone by now has nothing left to read.
    let _ = stream.shutdown().await;
    let mut thrown_away = vec![0; 4096];
    let mut read = read_or_expire(connection, stream, &mut thrown_away).await;
    while matches!(read, Some(Ok(1..))) {
        read = read_or_expire(connection, stream, &mut thrown_away).await;
    }
}

/// Reads; `None` when the time for it is up. A drain does not end that: it is what keeps the response whole.
async fn read_or_expire(
    connection: &Connection,
    stream: &mut Stream,
    buffer: &mut [u8],
) -> Option<io::Result<usize>> {
    let mut read = pin!(stream.read(buffer));
    poll_fn(|context| {
        connection.keep_waker(context.waker());
        match connection.order.take() {
            Some(Order::Expire) => Poll::Ready(None),
            Some(Order::Drain | Order::Rest) | None => read.as_mut().poll(context).map(Some),
        }
    })
    .await
}
