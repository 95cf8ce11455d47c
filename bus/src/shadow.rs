//! A copy of a request, whose reply is only compared.
//!
//! Owns the number of outstanding copies. Leaves the choice of the instance to `bus-proto`, and the
//! comparison to the caller. Invariant: a copy is sent at most once, and never waits to be sent.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bus_proto::limits::SHADOWS_MAX;
use bus_proto::node::{Ask, Sent};
use bus_proto::pending::Outcome;
use bus_proto::{Flags, RequestId, Route};
use bytes::Bytes;

use crate::call::{Instance, Reply, service};
use crate::message::{Head, Options, RequestError};
use crate::state::inner::Inner;

/// The reply to a copy that [`Bus::shadow`](crate::Bus::shadow) sent. Dropping it sends the peer a
/// cancel.
///
/// **Cancel safety**: safe; the reply is lost.
#[must_use = "dropping it cancels the copy"]
pub struct Shadow {
    inner: Rc<Inner>,
    route: Route,
    /// `None` once the copy has ended.
    id: Option<RequestId>,
    instance: Instance,
}

impl Shadow {
    pub(crate) fn send(
        inner: &Rc<Inner>,
        route: Route,
        head: &impl Head,
        body: &[Bytes],
        options: Options,
    ) -> Option<Self> {
        let Options { asked, deadline, flags, to, .. } = options;
        let node = &mut *inner.node.borrow_mut();
        if inner.shadows.get() >= SHADOWS_MAX {
            node.counters.shadows_dropped += 1;
            return None;
        }
        let ask = Ask { route, flags: flags.union(Flags::SHADOW), deadline, to };
        let Sent { id, pipe, version } = node.request(asked, ask, |out| head.encode(out), body).ok()?;
        inner.sent(node, deadline);
        inner.shadows.set(inner.shadows.get() + 1);
        Some(Self { inner: Rc::clone(inner), route, id: Some(id), instance: Instance { pipe, version } })
    }

    /// The instance that got the copy.
    #[must_use]
    pub const fn instance(&self) -> Instance {
        self.instance
    }
}

impl Future for Shadow {
    type Output = Result<Reply, RequestError>;

    /// Must not be polled again after `Ready`.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let id = self.id.expect("a copy is polled until it has ended");
        let outcome = ready!(self.inner.node.borrow_mut().poll_reply(id, cx.waker()));
        self.id = None;
        let name = || service(&self.inner.node.borrow(), self.route);
        Poll::Ready(match outcome {
            Outcome::Reply(envelope) => Ok(Reply::new(&self.inner, self.route, id, envelope)),
            Outcome::Deadline => Err(RequestError::Deadline { service: name() }),
            Outcome::Lost { .. } => Err(RequestError::Lost { service: name() }),
        })
    }
}

impl Drop for Shadow {
    fn drop(&mut self) {
        self.inner.shadows.set(self.inner.shadows.get() - 1);
        if let Some(id) = self.id {
            self.inner.node.borrow_mut().close_request(id);
        }
    }
}

impl fmt::Debug for Shadow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shadow").field("id", &self.id).finish_non_exhaustive()
    }
}
