//! The body of a request, as the chunks that hyper read.
//!
//! Owns: the limit, the joining of small chunks, and throwing away what is not wanted. Does not: copy large ones. Invariant: at most
//! `limit / CHUNK_JOIN_BYTES * 2 + 2` chunks, whatever the client sends.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bus::Body;
use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use hyper::body::Incoming;

use crate::connection::{Connection, Phase};
use crate::limits::{CHUNK_JOIN_BYTES, DISCARD_BYTES, DISCARD_TIME};
use crate::rescue::Refusal;

/// Reads `incoming` to its end.
///
/// # Errors
/// [`Refusal::BodyTooLarge`], before reading when the length is announced; [`Refusal::BodyTimeout`];
/// [`Refusal::BodyBroken`].
///
/// **Cancel safety**: not safe; chunks read are lost.
pub async fn collect(incoming: Incoming, connection: &Connection) -> Result<Body, Refusal> {
    let limit = connection.worker.config.limits.body_bytes;
    let announced = incoming.size_hint().lower();
    let read = if announced > limit as u64 {
        Err(Refusal::BodyTooLarge { limit })
    } else {
        connection.enter(Phase::Body);
        let mut incoming = incoming;
        let mut chunks = Chunks::new(limit);
        poll_fn(|context| poll_chunks(&mut incoming, &mut chunks, connection, context)).await
    };
    connection.enter(Phase::Service);
    if read.is_err() {
        connection.leave_unread();
    }
    read
}

/// Reads the body of a request that was refused, and throws it away: the client is sending it, and its connection can go on
/// behind it. False when that would take more than [`DISCARD_BYTES`] or [`DISCARD_TIME`].
///
/// **Cancel safety**: not safe; what was read is gone.
pub async fn discard(mut incoming: Incoming) -> bool {
    let read = async {
        let mut left = DISCARD_BYTES;
        while incoming.size_hint().lower() <= left {
            match poll_fn(|context| Pin::new(&mut incoming).poll_frame(context)).await {
                None => return true,
                Some(Err(_)) => return false,
                Some(Ok(frame)) => {
                    let len = frame.data_ref().map_or(0, Bytes::len) as u64;
                    let Some(rest) = left.checked_sub(len) else { return false };
                    left = rest;
                }
            }
        }
        false
    };
    tokio::time::timeout(DISCARD_TIME, read).await.unwrap_or(false)
}

fn poll_chunks(
    incoming: &mut Incoming,
    chunks: &mut Chunks,
    connection: &Connection,
    context: &mut Context<'_>,
) -> Poll<Result<Body, Refusal>> {
    if connection.body_expired() {
        let limit = connection.worker.config.limits.body_timeout;
        return Poll::Ready(Err(Refusal::BodyTimeout { limit }));
    }
    loop {
        match Pin::new(&mut *incoming).poll_frame(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(None) => return Poll::Ready(Ok(chunks.finish())),
            Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(Refusal::BodyBroken)),
            // Trailers end here: the envelope has no place for them.
            Poll::Ready(Some(Ok(frame))) => {
                if let Ok(chunk) = frame.into_data() {
                    chunks.push(chunk)?;
                }
            }
        }
    }
}

/// Chunks read so far; the small ones at the end joined.
struct Chunks {
    body: Body,
    joined: BytesMut,
    len: usize,
    limit: usize,
}

impl Chunks {
    fn new(limit: usize) -> Self {
        Self { body: Body::new(), joined: BytesMut::new(), len: 0, limit }
    }

    fn push(&mut self, chunk: Bytes) -> Result<(), Refusal> {
        self.len += chunk.len();
        if self.len > self.limit {
            return Err(Refusal::BodyTooLarge { limit: self.limit });
        }
        if chunk.len() < CHUNK_JOIN_BYTES && !self.body.is_empty() {
            self.joined.extend_from_slice(&chunk);
        } else {
            self.flush();
            self.body.push(chunk);
        }
        Ok(())
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
    fn large_chunks_are_kept_as_they_are_and_small_ones_joined() {
        let large = Bytes::from(vec![7; CHUNK_JOIN_BYTES]);
        let mut chunks = Chunks::new(1 << 20);
        for chunk in [Bytes::from_static(b"a"), "b".into(), "c".into(), large.clone(), "d".into(), "e".into()]
        {
            chunks.push(chunk).unwrap();
        }
        let body = chunks.finish();
        assert_eq!(body.as_slice(), [Bytes::from("a"), "bc".into(), large.clone(), "de".into()]);
        assert_eq!(body[2].as_ptr(), large.as_ptr());
    }

    #[test]
    fn single_bytes_do_not_cost_a_slot_each() {
        let mut chunks = Chunks::new(100_000);
        for _ in 0..100_000 {
            chunks.push(Bytes::from_static(b"x")).unwrap();
        }
        assert_eq!(chunks.push(Bytes::from_static(b"x")), Err(Refusal::BodyTooLarge { limit: 100_000 }));
        assert_eq!(chunks.finish().len(), 2);
    }
}
