//! The request that a connection has under way.
//!
//! Owns: the future that answers it, and its answer if that came while hyper was away. It lies here and not in hyper, so
//! that hyper can be sent away meanwhile. Invariant: one request at a time, as HTTP/1.1 has it; its place serves all
//! requests of a connection, and only the first that hyper has to answer allocates.

use std::cell::{OnceCell, RefCell};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, Response};

use crate::response::{Answer, Body};

/// Where a connection's request is answered by a future `F`.
pub(super) struct Slot<'a, F> {
    under_way: RefCell<Pin<&'a mut Option<F>>>,
    /// Apart, since most connections never need a hyper.
    kept: OnceCell<Box<Kept>>,
}

/// What lies ready for hyper.
#[derive(Default)]
struct Kept {
    /// Came while hyper was away.
    answer: RefCell<Option<Answer>>,
    /// Empty; the memory of the request's headers, for the response's.
    headers: RefCell<HeaderMap>,
}

impl<'a, F: Future<Output = Answer>> Slot<'a, F> {
    /// Empty; `place` is where requests will be.
    pub(super) fn new(place: Pin<&'a mut Option<F>>) -> Self {
        Self { under_way: RefCell::new(place), kept: OnceCell::new() }
    }

    /// Takes a request in.
    #[inline]
    pub(super) fn begin(&self, request: F) {
        self.under_way.borrow_mut().set(Some(request));
    }

    /// Takes the request's headers over, which are not needed any more.
    pub(super) fn use_again(&self, mut headers: HeaderMap) {
        headers.clear();
        *self.kept().headers.borrow_mut() = headers;
    }

    /// Whether an answer is kept that hyper has not taken.
    #[inline]
    pub(super) fn is_answered(&self) -> bool {
        self.kept.get().is_some_and(|kept| kept.answer.borrow().is_some())
    }

    /// The answer, for hyper to wait for.
    #[inline]
    pub(super) fn response(&self) -> ForHyper<'_, 'a, F> {
        ForHyper(self)
    }

    /// Waits for the answer in hyper's place, and keeps it for hyper.
    pub(super) fn poll_kept(&self, context: &mut Context<'_>) -> Poll<()> {
        let answer = ready!(self.poll(context));
        self.keep(answer);
        Poll::Ready(())
    }

    /// Keeps an answer for hyper.
    pub(super) fn keep(&self, answer: Answer) {
        *self.kept().answer.borrow_mut() = Some(answer);
    }

    fn kept(&self) -> &Kept {
        self.kept.get_or_init(Box::default)
    }

    /// Asks the request under way.
    #[inline]
    pub(super) fn poll(&self, context: &mut Context<'_>) -> Poll<Answer> {
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
pub(super) struct ForHyper<'s, 'a, F>(&'s Slot<'a, F>);

impl<F: Future<Output = Answer>> Future for ForHyper<'_, '_, F> {
    type Output = Result<Response<Body>, Infallible>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self(slot) = *self;
        let kept = slot.kept();
        let answer = kept.answer.borrow_mut().take();
        let answer = match answer {
            Some(answer) => answer,
            None => ready!(slot.poll(context)),
        };
        Poll::Ready(Ok(answer.into_response(kept.headers.take())))
    }
}
