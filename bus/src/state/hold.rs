//! Requests that wait for an instance, because a service restarts, has failed, or has not joined
//! yet.
//!
//! Owns the number of waiting requests, the bytes of their bodies, and the time limit of each.
//! `call` owns the requests themselves.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bus_proto::limits::{HELD_BYTES_MAX, HELD_MAX};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::Sleep;

/// The requests of one worker that wait for an instance. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holding {
    requests: Rc<Cell<usize>>,
    body_bytes: Rc<Cell<usize>>,
}

/// A place among the waiting requests. Dropping it frees the place.
#[derive(Debug)]
pub struct Held {
    all: Holding,
    body_len: usize,
    notify: Arc<Notify>,
    joined: Pin<Box<OwnedNotified>>,
    end: Pin<Box<Sleep>>,
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// A hello was accepted.
    Joined,
    /// The time is over; the next attempt is the last one.
    Over,
}

impl Held {
    pub(crate) fn new(all: &Holding, notify: &Arc<Notify>, body_len: usize, end: Instant) -> Option<Self> {
        let (requests, body_bytes) = (all.requests.get() + 1, all.body_bytes.get() + body_len);
        if requests > HELD_MAX || body_bytes > HELD_BYTES_MAX || end <= Instant::now() {
            return None;
        }
        all.requests.set(requests);
        all.body_bytes.set(body_bytes);
        let joined = Box::pin(Arc::clone(notify).notified_owned());
        let end = Box::pin(tokio::time::sleep_until(end.into()));
        Some(Self { all: all.clone(), body_len, notify: Arc::clone(notify), joined, end })
    }

    /// Waits for the next accepted hello, or for the end of the time.
    ///
    /// **Cancel safety**: safe.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Wait> {
        if self.joined.as_mut().poll(context).is_ready() {
            self.joined = Box::pin(Arc::clone(&self.notify).notified_owned());
            return Poll::Ready(Wait::Joined);
        }
        ready!(self.end.as_mut().poll(context));
        Poll::Ready(Wait::Over)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.requests.set(self.all.requests.get() - 1);
        self.all.body_bytes.set(self.all.body_bytes.get() - self.body_len);
    }
}
