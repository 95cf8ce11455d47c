//! The answer of a backend: available at once, or later.
//!
//! The embedded backend answers reads without a task, a thread or an allocation; FoundationDB
//! answers from its network thread. One type for both keeps the backend trait usable as an object.
//!
//! Invariant: an answer that is ready completes on the first poll.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use crate::error::Error;

/// A result, or a future of it.
#[must_use]
pub(crate) enum Answer<'a, T> {
    /// Available; `None` after it was taken.
    Ready(Option<Result<T, Error>>),
    /// Available later.
    Later(Pin<Box<dyn Future<Output = Result<T, Error>> + 'a>>),
}

impl<T> From<Result<T, Error>> for Answer<'_, T> {
    fn from(result: Result<T, Error>) -> Self {
        Self::Ready(Some(result))
    }
}

impl<'a, T> Answer<'a, T> {
    /// The answer that `future` resolves to.
    pub(crate) fn later(future: impl Future<Output = Result<T, Error>> + 'a) -> Self {
        Self::Later(Box::pin(future))
    }
}

impl<T: Unpin> Future for Answer<'_, T> {
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Ready(result) => Poll::Ready(result.take().expect("an answer is polled to its end once")),
            Self::Later(future) => future.as_mut().poll(context),
        }
    }
}
