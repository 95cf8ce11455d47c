//! The body of a response: none, one slice, or the parts of a reply as they come.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bus::{Parts, RequestError};
use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::connection::Connection;

/// What hyper polls for the bytes of a response. Dropping it tells the connection that hyper is done with it.
#[derive(Debug)]
pub struct Body {
    connection: Rc<Connection>,
    /// What is next; for [`Body::parts`] the first part, later nothing.
    next: Option<Bytes>,
    parts: Option<Parts>,
}

impl Body {
    /// No bytes.
    #[must_use]
    pub fn empty(connection: &Rc<Connection>) -> Self {
        Self { connection: Rc::clone(connection), next: None, parts: None }
    }

    /// All of them.
    #[must_use]
    pub fn full(connection: &Rc<Connection>, bytes: Bytes) -> Self {
        let next = (!bytes.is_empty()).then_some(bytes);
        Self { connection: Rc::clone(connection), next, parts: None }
    }

    /// The first and those that follow.
    #[must_use]
    pub fn parts(connection: &Rc<Connection>, first: Bytes, parts: Parts) -> Self {
        let mut body = Self::full(connection, first);
        body.parts = Some(parts);
        body
    }

    /// Bytes that are left, where that is known.
    fn known_len(&self) -> Option<usize> {
        self.parts.is_none().then(|| self.next.as_ref().map_or(0, Bytes::len))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = RequestError;

    #[inline]
    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestError>>> {
        if let Some(next) = self.next.take() {
            return Poll::Ready(Some(Ok(Frame::data(next))));
        }
        let Some(parts) = &mut self.parts else { return Poll::Ready(None) };
        let part = ready!(parts.poll_next(context));
        match part {
            Some(Ok(_)) => {}
            None => self.parts = None,
            Some(Err(_)) => {
                // hyper closes the connection without the end of the body: the client knows that it is truncated.
                self.parts = None;
                self.connection.worker.stats.replies_broken_off.increment();
            }
        }
        Poll::Ready(part.map(|part| part.map(Frame::data)))
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        self.next.is_none() && self.parts.is_none()
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        match self.known_len() {
            Some(len) => SizeHint::with_exact(len as u64),
            None => SizeHint::default(),
        }
    }
}

impl Drop for Body {
    #[inline]
    fn drop(&mut self) {
        self.connection.end_response_body();
    }
}
