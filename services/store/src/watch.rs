//! Two values that a transaction returns and that outlive it: a watch, and the stamp of its commit.
//!
//! Invariant: both complete. When the attempt that made them is not committed, they return
//! [`CallerError::NotCommitted`].

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use crate::{
    error::{CallerError, Error},
    limits,
};

/// Completes once the value of the watched key has changed after the commit. A value that changes
/// and changes back may go unnoticed, as in FoundationDB.
///
/// # Cancel safety
/// Dropping it releases its place among [`limits::WATCHES_MAX`].
#[must_use = "a watch that is dropped never fires"]
pub struct Watch {
    fired: Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>,
}

impl Watch {
    pub(crate) fn new(fired: impl Future<Output = Result<(), Error>> + Send + 'static) -> Self {
        Self { fired: Box::pin(fired) }
    }
}

impl Future for Watch {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.fired.as_mut().poll(context)
    }
}

/// The 10 bytes that the commit wrote into versionstamped keys and values; greater for later
/// commits.
///
/// Returns [`CallerError::NoCommitVersion`] when the transaction wrote nothing.
#[must_use = "the stamp comes when it is awaited after the commit"]
pub struct CommitStamp {
    stamp: Stamp,
}

type Stamped = Result<[u8; limits::STAMP_BYTES], Error>;

enum Stamp {
    /// Sent by the committer.
    Sent(tokio::sync::oneshot::Receiver<Stamped>),
    /// A future of the backend's client.
    #[cfg_attr(not(feature = "fdb"), expect(dead_code, reason = "the embedded backend sends it"))]
    Later(Pin<Box<dyn Future<Output = Stamped> + Send>>),
}

impl CommitStamp {
    pub(crate) fn new(stamp: tokio::sync::oneshot::Receiver<Stamped>) -> Self {
        Self { stamp: Stamp::Sent(stamp) }
    }

    #[cfg(feature = "fdb")]
    pub(crate) fn later(stamp: impl Future<Output = Stamped> + Send + 'static) -> Self {
        Self { stamp: Stamp::Later(Box::pin(stamp)) }
    }
}

impl Future for CommitStamp {
    type Output = Stamped;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.stamp {
            Stamp::Sent(stamp) => Pin::new(stamp)
                .poll(context)
                .map(|received| received.unwrap_or_else(|_| Err(CallerError::NotCommitted.into()))),
            Stamp::Later(stamp) => stamp.as_mut().poll(context),
        }
    }
}
