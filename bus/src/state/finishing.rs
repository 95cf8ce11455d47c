//! Handlers that are asked to answer now, with what they have: long polls, when the asker or this
//! process stops.
//!
//! Owns: which waiting requests want to know, and which have been told. Does not own: the answer,
//! which is the handler's. A request costs nothing here unless its handler asks for a [`Finish`].

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bus_proto::{Correlation, PipeId};

/// The pipe that a request came by, and its id there.
type Key = (PipeId, Correlation);

/// The requests of one worker whose handlers wait for [`Finish`].
#[derive(Default)]
pub(crate) struct Finishing {
    /// Set once this process drains: every request is to be answered now.
    all: Cell<bool>,
    /// Seeded: correlation ids are a peer's choice.
    requests: RefCell<HashMap<Key, State, foldhash::fast::RandomState>>,
}

#[derive(Default)]
struct State {
    is_told: bool,
    waker: Option<Waker>,
}

/// Completes when the request is to be answered now: its asker says so (a terminator that drains),
/// or this process drains.
///
/// **Cancel safety**: safe.
#[must_use = "a future does nothing until it is polled"]
pub struct Finish {
    finishing: Rc<Finishing>,
    key: Key,
}

impl Finishing {
    pub(crate) fn finish(self: &Rc<Self>, key: Key) -> Finish {
        self.requests.borrow_mut().insert(key, State::default());
        Finish { finishing: Rc::clone(self), key }
    }

    /// The asker of a request wants its answer now.
    pub(crate) fn tell(&self, key: Key) {
        if let Some(request) = self.requests.borrow_mut().get_mut(&key) {
            request.tell();
        }
    }

    /// All askers are to have their answers now, those of later requests too.
    pub(crate) fn tell_all(&self) {
        self.all.set(true);
        self.requests.borrow_mut().values_mut().for_each(State::tell);
    }
}

impl State {
    fn tell(&mut self) {
        self.is_told = true;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Future for Finish {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.finishing.all.get() {
            return Poll::Ready(());
        }
        let mut requests = self.finishing.requests.borrow_mut();
        // Two requests with the same id share one entry, which the first to end removes.
        let Some(request) = requests.get_mut(&self.key) else { return Poll::Pending };
        if request.is_told {
            return Poll::Ready(());
        }
        request.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        self.finishing.requests.borrow_mut().remove(&self.key);
    }
}
