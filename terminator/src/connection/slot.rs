//! The request that a connection has under way.
//!
//! Owns: the future that answers it, and its answer if that came while hyper was away. It lies here and not in hyper, so
//! that hyper can be sent away meanwhile. Invariant: one request at a time, as HTTP/1.1 has it; its place serves all
//! requests of a connection, none allocates.

use std::cell::RefCell;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;

use crate::response::Body;

/// What answers a request.
pub(super) type Answered = Result<Response<Body>, Infallible>;

/// Where a connection's request is answered by a future `F`.
pub(super) struct Slot<'a, F> {
    under_way: RefCell<Pin<&'a mut Option<F>>>,
    /// Came while hyper was away.
    kept: RefCell<Option<Answered>>,
}

impl<'a, F: Future<Output = Answered>> Slot<'a, F> {
    /// Empty; `place` is where requests will be.
    pub(super) fn new(place: Pin<&'a mut Option<F>>) -> Self {
        Self { under_way: RefCell::new(place), kept: RefCell::new(None) }
    }

    /// Takes a request in.
    #[inline]
    pub(super) fn begin(&self, request: F) {
        self.under_way.borrow_mut().set(Some(request));
    }

    /// Whether an answer is kept that hyper has not taken.
    #[inline]
    pub(super) fn is_answered(&self) -> bool {
        self.kept.borrow().is_some()
    }

    /// The answer, for hyper to wait for.
    #[inline]
    pub(super) fn answer(&self) -> Answer<'_, 'a, F> {
        Answer(self)
    }

    /// Waits for the answer in hyper's place, and keeps it for hyper.
    pub(super) fn poll_kept(&self, context: &mut Context<'_>) -> Poll<()> {
        let answered = ready!(self.poll(context));
        *self.kept.borrow_mut() = Some(answered);
        Poll::Ready(())
    }

    #[inline]
    fn poll(&self, context: &mut Context<'_>) -> Poll<Answered> {
        let mut under_way = self.under_way.borrow_mut();
        let request = under_way.as_mut().as_pin_mut().expect("who waits has begun a request");
        let polled = request.poll(context);
        if polled.is_ready() {
            under_way.set(None);
        }
        polled
    }
}

/// What hyper holds of a request. Dropping it leaves the request under way.
pub(super) struct Answer<'s, 'a, F>(&'s Slot<'a, F>);

impl<F: Future<Output = Answered>> Future for Answer<'_, '_, F> {
    type Output = Answered;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answered> {
        let Self(slot) = *self;
        if slot.is_answered() {
            let kept = slot.kept.borrow_mut().take();
            return Poll::Ready(kept.expect("it was looked at"));
        }
        slot.poll(context)
    }
}
