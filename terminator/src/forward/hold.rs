//! Requests that wait for an instance, because a service restarts, has died, or has not joined yet.
//!
//! Owns: how many wait, with how many bytes of bodies, and for how long each. Does not: know what they ask (`asked`).

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bus::Bus;
use tokio::sync::futures::OwnedNotified;
use tokio::time::Sleep;

use crate::limits::{HELD, HELD_BYTES};

/// The requests of one worker that wait for an instance. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Holding {
    requests: Rc<Cell<usize>>,
    body_bytes: Rc<Cell<usize>>,
}

impl Holding {
    /// A place for a request with a body of so many bytes, until `end`; `None` when there is none, or no time.
    pub(super) fn hold(&self, bus: &Bus, body_len: usize, end: Instant) -> Option<Held> {
        let (requests, body_bytes) = (self.requests.get() + 1, self.body_bytes.get() + body_len);
        if requests > HELD || body_bytes > HELD_BYTES || end <= Instant::now() {
            return None;
        }
        self.requests.set(requests);
        self.body_bytes.set(body_bytes);
        let joined = Box::pin(bus.joined());
        let end = Box::pin(tokio::time::sleep_until(end.into()));
        Some(Held { all: self.clone(), body_len, joined, end })
    }
}

/// A request that waits; it gives its place back when it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    all: Holding,
    body_len: usize,
    joined: Pin<Box<OwnedNotified>>,
    end: Pin<Box<Sleep>>,
}

/// Why a request is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// A peer has joined.
    Joined,
    /// Its time is up: it is the last try.
    Over,
}

impl Held {
    /// Waits for the next peer that joins.
    pub(super) fn poll(&mut self, bus: &Bus, context: &mut Context<'_>) -> Poll<Wait> {
        if self.joined.as_mut().poll(context).is_ready() {
            self.joined = Box::pin(bus.joined());
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
