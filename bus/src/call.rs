//! A request in progress: a slot in the pending table, without a channel or a task.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bus_proto::node::{Ask, Sent};
use bus_proto::pending::{Outcome, PartsEnd};
use bus_proto::{Envelope, Flags, Header, Node, PipeId, Refused, RequestId, Route, VersionId, limits, retry};
use bytes::Bytes;

use crate::message::{Body, Head, Options, RequestError};
use crate::state::hold::{Held, Wait};
use crate::state::inner::Inner;

/// A reply, or the first part of one.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Fields and body, slices of the buffer that the bus read.
    pub envelope: Envelope,
    /// The other parts, which are the rest of the body; `None` when the reply is complete.
    pub parts: Option<Parts>,
}

/// The instance that got a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The pipe to it; [`Bus::hello_of`](crate::Bus::hello_of) names it while the pipe is open.
    pub pipe: PipeId,
    /// Its version.
    pub version: VersionId,
}

/// A request in progress. Dropping it frees its slot and sends the peer a cancel.
///
/// **Cancel safety**: if the call is dropped before it completes, the request may or may not have
/// been served.
#[must_use = "a call does nothing until it is polled"]
pub struct Call<H> {
    inner: Rc<Inner>,
    route: Route,
    head: H,
    body: Body,
    options: Options,
    sent: Option<RequestId>,
    instance: Option<Instance>,
    attempts: u32,
    held: Option<Box<Held>>,
}

impl<H: Head + Unpin> Call<H> {
    pub(crate) fn new(inner: Rc<Inner>, route: Route, head: H, body: Body, options: Options) -> Self {
        Self { inner, route, head, body, options, sent: None, instance: None, attempts: 0, held: None }
    }

    /// The head of the request.
    #[must_use]
    pub fn head(&self) -> &H {
        &self.head
    }

    /// The body of the request.
    #[must_use]
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// The route of the request.
    #[must_use]
    pub fn route(&self) -> Route {
        self.route
    }

    /// The instance that the request was last sent to: when the call has completed, the one that
    /// answered, or failed to. `None` before the request was sent.
    #[inline]
    #[must_use]
    pub fn instance(&self) -> Option<Instance> {
        self.instance
    }

    fn send(&mut self) -> Result<RequestId, RequestError> {
        let Options { asked, deadline, flags, to, .. } = self.options;
        let ask = Ask { route: self.route, flags, deadline, to };
        let now = if self.attempts == 0 && self.held.is_none() { asked } else { Instant::now() };
        let node = &mut *self.inner.node.borrow_mut();
        let sent = node.request(now, ask, |head| self.head.encode(head), &self.body);
        let Sent { id, pipe, version } = sent.map_err(|refused| self.refusal(node, refused))?;
        self.instance = Some(Instance { pipe, version });
        self.inner.sent(node, deadline);
        self.attempts += 1;
        Ok(id)
    }

    /// Sends the request, or waits for an instance when there is none.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<RequestId, RequestError>> {
        loop {
            let mut is_last = false;
            if let Some(held) = &mut self.held {
                is_last = ready!(held.poll(cx)) == Wait::Over;
            }
            let sent = self.send();
            if is_last || !matches!(sent, Err(RequestError::NoInstance { .. })) || !self.hold() {
                self.held = None;
                return Poll::Ready(sent);
            }
        }
    }

    /// Takes a place among the requests that wait for an instance. True when the request has one.
    #[cold]
    fn hold(&mut self) -> bool {
        if self.held.is_none() && !self.options.flags.contains(Flags::SHADOW) {
            let Options { deadline, hold, .. } = self.options;
            let end = (Instant::now() + hold).min(deadline);
            let body_len = self.body.iter().map(Bytes::len).sum();
            self.held = Held::new(&self.inner.holding, &self.inner.joined, body_len, end).map(Box::new);
            if self.held.is_some() {
                self.inner.node.borrow_mut().counters.requests_held += 1;
            }
        }
        self.held.is_some()
    }

    fn refusal(&self, node: &Node, refused: Refused) -> RequestError {
        match refused {
            Refused::NoInstance => RequestError::NoInstance { service: self.service_in(node) },
            Refused::Busy { instances } => RequestError::Busy { service: self.service_in(node), instances },
            Refused::Pending { limit } => RequestError::Pending { limit },
            Refused::Encode(error) => RequestError::Encode(error),
        }
    }

    fn service_in(&self, node: &Node) -> String {
        service(node, self.route)
    }

    fn service(&self) -> String {
        self.service_in(&self.inner.node.borrow())
    }
}

pub(crate) fn service(node: &Node, route: Route) -> String {
    node.directory.service(route.service).map_or_else(String::new, |service| service.name.clone())
}

impl Reply {
    #[inline]
    pub(crate) fn new(inner: &Rc<Inner>, route: Route, id: RequestId, envelope: Envelope) -> Self {
        let Header { status, flags, .. } = envelope.header();
        let stream = || {
            let service = service(&inner.node.borrow(), route);
            Stream { inner: Rc::clone(inner), id, service }
        };
        let parts = flags.contains(Flags::MORE).then(|| Parts(Box::new(stream())));
        Self { status, envelope, parts }
    }
}

impl<H: Head + Unpin> Future for Call<H> {
    type Output = Result<Reply, RequestError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            let id = match this.sent {
                Some(id) => id,
                None => {
                    let id = ready!(this.poll_send(cx))?;
                    *this.sent.insert(id)
                }
            };
            let outcome = ready!(this.inner.node.borrow_mut().poll_reply(id, cx.waker()));
            this.sent = None;
            match outcome {
                Outcome::Reply(envelope) => {
                    return Poll::Ready(Ok(Reply::new(&this.inner, this.route, id, envelope)));
                }
                Outcome::Deadline => {
                    return Poll::Ready(Err(RequestError::Deadline { service: this.service() }));
                }
                Outcome::Lost { written } => {
                    let Options { deadline, flags, .. } = this.options;
                    if !retry::may_retry(written, flags, this.attempts, Instant::now(), deadline) {
                        return Poll::Ready(Err(RequestError::Lost { service: this.service() }));
                    }
                    this.inner.node.borrow_mut().counters.requests_retried += 1;
                }
            }
        }
    }
}

impl<H> Drop for Call<H> {
    fn drop(&mut self) {
        if let Some(id) = self.sent {
            self.inner.node.borrow_mut().close_request(id);
        }
    }
}

/// The other parts of a reply, in order. Dropping this cancels the parts that were not received.
pub struct Parts(Box<Stream>);

/// Boxed because few replies have parts, and every [`Reply`] would need the space.
struct Stream {
    inner: Rc<Inner>,
    id: RequestId,
    service: String,
}

impl Parts {
    /// The next part's body; `None` after the last one.
    ///
    /// # Errors
    /// [`RequestError::Deadline`] when the next part is late, [`RequestError::Lost`] when the
    /// instance disconnects, [`RequestError::SlowClient`] when parts arrive faster than they are
    /// taken.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, RequestError>>> {
        let Stream { inner, id, service } = &*self.0;
        let part = ready!(inner.node.borrow_mut().poll_part(*id, cx.waker()));
        Poll::Ready(part.map(|part| {
            part.map_err(|end| match end {
                PartsEnd::Deadline => RequestError::Deadline { service: service.clone() },
                PartsEnd::Overflow => RequestError::SlowClient { limit: limits::PARTS_BYTES_MAX },
                PartsEnd::Lost | PartsEnd::Complete => RequestError::Lost { service: service.clone() },
            })
        }))
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("id", &self.0.id).finish_non_exhaustive()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.inner.node.borrow_mut().close_request(self.id);
    }
}
