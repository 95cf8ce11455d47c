//! Long polls: which polls wait for which events.
//!
//! Owns one worker's waiting polls, and the task that follows the log for them. `log` reads their
//! events, `routes` limits their time.
//!
//! A poll reads, finds nothing up to a position, and waits from there. The task reads each new
//! event of the log once and wakes the polls whose query it matches. It finds polls by the event's
//! labels, so the cost of an event grows with the polls for its labels, not with all polls. The
//! store's watches wake the task; a bus event may wake it sooner.
//!
//! Invariant: for every waiting poll, all events after its position are after `seen` too, or the
//! poll has been woken.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use slab::Slab;
use store::{Error, RunOptions, Watch};
use tokio::{sync::Notify, time::timeout};

use crate::{
    event::{Record, fingerprint},
    limits::TAIL_PATIENCE,
    log::EventStore,
    position::EventPosition,
    query::Query,
};

/// Pause after an error of the store.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// The polls of one worker, used on its thread only.
pub struct Tail {
    events: EventStore,
    polls: RefCell<Polls>,
    sign: Notify,
}

struct Polls {
    waiting: Slab<Poller>,
    /// The polls by a label that an event must have to wake them.
    by_label: BTreeSet<(Option<u32>, usize)>,
    /// The log was followed up to this position.
    seen: EventPosition,
    followed: bool,
}

struct Poller {
    query: Rc<Query>,
    after: EventPosition,
    woken: bool,
    waker: Option<Waker>,
}

/// A waiting poll: completes when there is a new event for it. Dropping it ends the wait.
#[must_use = "a poll that is dropped does not wait"]
pub struct Waiting {
    tail: Rc<Tail>,
    id: usize,
}

impl Tail {
    /// A tail of these events.
    #[must_use]
    pub fn new(events: EventStore) -> Rc<Self> {
        let polls = Polls {
            waiting: Slab::new(),
            by_label: BTreeSet::new(),
            seen: EventPosition::START,
            followed: false,
        };
        Rc::new(Self { events, polls: polls.into(), sign: Notify::new() })
    }

    /// Waits for an event after `after` that matches `query`; `after` is the position of a page
    /// without events. `None` when the log was followed past `after` in between: read again from
    /// there.
    pub fn wait(self: &Rc<Self>, query: &Rc<Query>, after: EventPosition) -> Option<Waiting> {
        let mut polls = self.polls.borrow_mut();
        if !polls.followed {
            polls.followed = true;
            polls.seen = after;
            tokio::task::spawn_local(Rc::clone(self).follow());
        }
        if after < polls.seen {
            return None;
        }
        let poller = Poller { query: Rc::clone(query), after, woken: false, waker: None };
        let id = polls.waiting.insert(poller);
        polls.by_label.extend(query.index_labels().map(|label| (label, id)));
        Some(Waiting { tail: Rc::clone(self), id })
    }

    /// Reads the log now, because there may be new events.
    pub fn look(&self) {
        self.sign.notify_one();
    }

    /// Number of waiting polls.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.polls.borrow().waiting.len()
    }

    /// Follows the log until no poll waits.
    async fn follow(self: Rc<Self>) {
        let mut arm = true;
        loop {
            let Some(after) = self.next_look() else { return };
            match self.events.look(after, arm, &RunOptions::default()).await {
                Ok(look) => {
                    let found = !look.page.events.is_empty();
                    self.polls.borrow_mut().saw(&look.page.events, look.page.position);
                    if !found && arm {
                        self.until_sign(look.watches).await;
                    } else {
                        tokio::task::yield_now().await;
                    }
                    arm = !look.page.more;
                }
                Err(error) => {
                    tracing::warn!(%error, "long polls wait: the store cannot be followed");
                    let _ = timeout(AFTER_FAILURE, self.sign.notified()).await;
                }
            }
        }
    }

    /// The position to read from; `None` when no poll waits.
    fn next_look(&self) -> Option<EventPosition> {
        let mut polls = self.polls.borrow_mut();
        polls.followed = !polls.waiting.is_empty();
        polls.followed.then_some(polls.seen)
    }

    async fn until_sign(&self, mut watches: Vec<Watch>) {
        let mut sign = pin!(self.sign.notified());
        let any = poll_fn(|context| {
            let fired = |watch: &mut Watch| -> Poll<Result<(), Error>> { Pin::new(watch).poll(context) };
            // An error of a watch ends the wait too: the next read of the log reports it.
            match watches.iter_mut().map(fired).find(Poll::is_ready) {
                Some(_) => Poll::Ready(()),
                None => sign.as_mut().poll(context),
            }
        });
        // When no watch fires, the log is read again after the timeout.
        let _ = timeout(TAIL_PATIENCE, any).await;
    }
}

impl Polls {
    fn saw(&mut self, events: &[(EventPosition, Record)], position: EventPosition) {
        for (at, record) in events {
            for label in record.labels().map(|label| Some(fingerprint(label))).chain([None]) {
                for &(_, id) in self.by_label.range((label, 0)..=(label, usize::MAX)) {
                    let poller = &mut self.waiting[id];
                    if !poller.woken && *at > poller.after && poller.query.matches(record) {
                        poller.wake();
                    }
                }
            }
        }
        self.seen = self.seen.max(position);
    }
}

impl Poller {
    fn wake(&mut self) {
        self.woken = true;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Future for Waiting {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let poller = &mut self.tail.polls.borrow_mut().waiting[self.id];
        if poller.woken {
            return Poll::Ready(());
        }
        poller.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut polls = self.tail.polls.borrow_mut();
        let poller = polls.waiting.remove(self.id);
        for label in poller.query.index_labels() {
            polls.by_label.remove(&(label, self.id));
        }
        drop(polls);
        if self.tail.waiting() == 0 {
            // The task that follows the log sees that no poll waits, and ends.
            self.tail.sign.notify_one();
        }
    }
}
