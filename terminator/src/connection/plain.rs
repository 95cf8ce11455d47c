//! The plain road: requests that are answered without hyper (ADR 0013).
//!
//! Owns: reading a request that came whole, waiting for its response and writing it. Does not: know any other than those of
//! the common methods in HTTP/1.1 whose body, if any, came with the head; every other, and one that came in pieces or with
//! another behind it, is left to hyper with every byte of it.
//! Invariant: what hyper would refuse gets no answer here, and what is answered here hyper would have answered with the same
//! status, body and headers.

mod codec;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::mem;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};

use super::slot::Slot;
use super::tap::{JOIN_LEN_MAX, Tap};
use super::{Connection, Order};
use crate::forward::{self, Begun, Sent};
use crate::response::Answer;
use codec::Date;

/// What one read takes at most: a longer request is hyper's. A body of fewer bytes is copied, which costs less than the memory
/// that it would hold.
const READ_BYTES: usize = 8 << 10;

/// A response's memory that grew above this is not kept.
const KEPT_BYTES: usize = 16 << 10;

/// Memory that the connections of a worker share: none holds it from one turn of the loop to the next, but for a response that
/// its client does not take.
#[derive(Debug, Default)]
pub struct Buffers {
    read: RefCell<BytesMut>,
    written: RefCell<Vec<u8>>,
    date: RefCell<Date>,
}

/// Why the plain road ended.
#[derive(Debug)]
pub(super) enum End {
    /// The next request is hyper's.
    Other,
    /// The response is: the slot keeps it.
    Parts,
    /// Between two requests, and none comes.
    Rest,
    /// The client overstayed.
    Expired,
    /// Nothing more comes, or is to come.
    Closed,
    /// The client left while its request waited, or its socket failed.
    Gone(io::Result<()>),
}

/// Serves requests as long as they are plain; `begin` puts them into `slot`.
pub(super) async fn plain<F: Future<Output = Answer>>(
    connection: &Rc<Connection>,
    tap: &mut Tap,
    slot: &Slot<'_, F>,
    begin: impl Fn(Begun, Sent),
) -> End {
    loop {
        if let Err(end) = poll_fn(|context| poll_request(connection, tap, &begin, context)).await {
            return end;
        }
        connection.resting.set(true);
        let answered = poll_fn(|context| poll_response(connection, tap, slot, context)).await;
        connection.resting.set(false);
        let written = match answered {
            Ok(mut response) => poll_fn(|context| poll_write(connection, tap, &mut response, context)).await,
            Err(end) => Err(end),
        };
        if let Err(end) = written {
            return end;
        }
    }
}

/// Reads a request and begins it. Holds no memory while none comes.
fn poll_request(
    connection: &Rc<Connection>,
    tap: &mut Tap,
    begin: impl Fn(Begun, Sent),
    context: &mut Context<'_>,
) -> Poll<Result<(), End>> {
    connection.keep_waker(context.waker());
    match connection.order.take() {
        None => {}
        // What came before is served, and is the last.
        Some(Order::Drain) if tap.has_unread() => {}
        Some(Order::Drain) => return Poll::Ready(Err(End::Closed)),
        Some(Order::Expire) => return Poll::Ready(Err(End::Expired)),
        Some(Order::Rest) => return Poll::Ready(Err(End::Rest)),
    }
    if !tap.is_between_requests() {
        return Poll::Ready(Err(End::Other));
    }
    let worker = &connection.worker;
    let mut buffer = worker.plain.read.borrow_mut();
    buffer.clear();
    buffer.reserve(READ_BYTES);
    Poll::Ready(match ready!(tap.poll_read_unseen(context, &mut buffer)) {
        Ok(0) => Err(End::Closed),
        Err(error) => Err(End::Gone(Err(error))),
        Ok(len) => {
            let begun = codec::read(&mut buffer, &worker.config.limits, |line, fields, body| {
                tap.pass_request(len);
                let body =
                    if body.is_empty() { Sent::Nothing } else { Sent::Whole(Bytes::copy_from_slice(body)) };
                begin(forward::begin(connection, line, fields), body);
            });
            if begun.is_none() {
                tap.unread_unseen(&buffer);
            }
            begun.ok_or(End::Other)
        }
    })
}

/// What is written for a request, its head joined with a small body.
struct Response {
    head: Vec<u8>,
    head_written: usize,
    body: Bytes,
    /// It is the connection's last.
    closes: bool,
}

fn poll_response<F: Future<Output = Answer>>(
    connection: &Connection,
    tap: &Tap,
    slot: &Slot<'_, F>,
    context: &mut Context<'_>,
) -> Poll<Result<Response, End>> {
    connection.keep_waker(context.waker());
    // A drain is known to the worker as well, and no time-out of a client is for this phase. Taken before the answer: what is left
    // of it may be for another to write.
    connection.order.take();
    if let Poll::Ready(answer) = slot.poll(context) {
        let response = response(connection, &answer);
        return Poll::Ready(response.ok_or_else(|| {
            slot.keep(answer);
            End::Parts
        }));
    }
    tap.poll_gone(context).map(|left| Err(End::Gone(left)))
}

/// The response that `answer` makes; `None` when its body comes in parts.
fn response(connection: &Connection, answer: &Answer) -> Option<Response> {
    let mut body = answer.whole_body()?;
    let worker = &connection.worker;
    let mut head = worker.plain.written.take();
    let closes = {
        let mut date = worker.plain.date.borrow_mut();
        let date = date.at(worker.connections.now_ms());
        codec::write(answer, body.len(), worker.draining(), date, &mut head)
    };
    if !codec::has_body(answer.status()) {
        body.clear();
    }
    if head.len() + body.len() <= JOIN_LEN_MAX {
        head.extend_from_slice(&body);
        body.clear();
    }
    connection.end_response_body();
    Some(Response { head, head_written: 0, body, closes })
}

/// Writes a response whole; `Err` when the connection ends with it.
fn poll_write(
    connection: &Connection,
    tap: &mut Tap,
    response: &mut Response,
    context: &mut Context<'_>,
) -> Poll<Result<(), End>> {
    let outcome = ready!(poll_write_all(connection, tap, response, context));
    if response.head.capacity() <= KEPT_BYTES {
        let mut head = mem::take(&mut response.head);
        head.clear();
        connection.worker.plain.written.replace(head);
    }
    outcome?;
    connection.flushed();
    // A drain may have begun while the client took its time.
    let closes = response.closes || connection.worker.draining();
    Poll::Ready(if closes { Err(End::Closed) } else { Ok(()) })
}

fn poll_write_all(
    connection: &Connection,
    tap: &mut Tap,
    response: &mut Response,
    context: &mut Context<'_>,
) -> Poll<Result<(), End>> {
    let Response { head, head_written, body, .. } = response;
    while *head_written < head.len() || !body.is_empty() {
        let Poll::Ready(written) = tap.poll_send(context, &head[*head_written..], body) else {
            connection.keep_waker(context.waker());
            // A drain is known to the worker, and one that writes does not rest.
            return match connection.order.take() {
                Some(Order::Expire) => Poll::Ready(Err(End::Expired)),
                _ => Poll::Pending,
            };
        };
        let written = written.map_err(|error| End::Gone(Err(error)))?;
        let of_head = written.min(head.len() - *head_written);
        *head_written += of_head;
        body.advance(written - of_head);
    }
    Poll::Ready(Ok(()))
}
