//! Events for the parts of this process that asked for them, each with a bounded queue.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};

use bus_proto::Envelope;
use foldhash::fast::RandomState;

use crate::message::Event;

/// Events that wait for one subscriber; of a slow one the oldest are dropped, and counted.
const WAITING_MAX: usize = 1024;
/// From here on who delivers waits for a turn of the loop now and then, in which a subscriber that is not busy takes
/// them all. For one that is, and whose queue is full, nobody waits.
const WAITING_MANY: usize = WAITING_MAX / 2;
/// Events between two such waits: room for what other pipes bring meanwhile.
const WAIT_EVERY: usize = 64;

/// Events of one topic.
pub struct Subscription {
    queue: Rc<RefCell<Queue>>,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Event>,
    waker: Option<Waker>,
}

impl Subscription {
    /// The next event.
    ///
    /// **Cancel safety**: safe, no event is lost.
    pub async fn recv(&mut self) -> Event {
        poll_fn(|cx| {
            let mut queue = self.queue.borrow_mut();
            if let Some(event) = queue.events.pop_front() {
                return Poll::Ready(event);
            }
            queue.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

struct Topic {
    name: Rc<str>,
    queues: Vec<Weak<RefCell<Queue>>>,
}

/// Who wants which topic, on one worker.
#[derive(Default)]
pub(crate) struct Subscriptions {
    topics: Vec<Topic>,
    by_name: HashMap<Box<[u8]>, usize, RandomState>,
    /// The topic of the event before: the next one often has it too.
    last: usize,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Delivered {
    /// Events that were dropped for it.
    pub(crate) dropped: u64,
    /// A subscriber has many to take, and ought to have its turn before more is read.
    pub(crate) behind: bool,
}

impl Subscriptions {
    /// A new subscriber of `topic`; true when it is the first.
    pub(crate) fn add(&mut self, topic: &str) -> (Subscription, bool) {
        let queue = Rc::default();
        let at = *self.by_name.entry(topic.as_bytes().into()).or_insert_with(|| {
            self.topics.push(Topic { name: topic.into(), queues: Vec::new() });
            self.topics.len() - 1
        });
        let queues = &mut self.topics[at].queues;
        let is_first = queues.is_empty();
        queues.push(Rc::downgrade(&queue));
        (Subscription { queue }, is_first)
    }

    /// Hands an event to its subscribers.
    #[inline]
    pub(crate) fn deliver(&mut self, envelope: Envelope) -> Delivered {
        let mut delivered = Delivered::default();
        let Some(at) = envelope.field(":topic").and_then(|topic| self.find(topic)) else { return delivered };
        self.last = at;
        let Topic { name, queues } = &mut self.topics[at];
        let mut gone = false;
        let mut give = |queue: &Weak<RefCell<Queue>>, envelope| match queue.upgrade() {
            Some(queue) => {
                let event = Event { topic: Rc::clone(name), envelope };
                queue.borrow_mut().give(event, &mut delivered);
            }
            None => gone = true,
        };
        if let Some((last, others)) = queues.split_last() {
            others.iter().for_each(|queue| give(queue, envelope.clone()));
            give(last, envelope);
        }
        if gone {
            queues.retain(|queue| queue.strong_count() > 0);
        }
        delivered
    }

    #[inline]
    fn find(&self, topic: &[u8]) -> Option<usize> {
        let is_last = self.topics.get(self.last).is_some_and(|last| last.name.as_bytes() == topic);
        if is_last { Some(self.last) } else { self.by_name.get(topic).copied() }
    }
}

impl Queue {
    #[inline]
    fn give(&mut self, event: Event, delivered: &mut Delivered) {
        let len = self.events.len() + 1;
        if len > WAITING_MAX {
            self.events.pop_front();
            delivered.dropped += 1;
        } else {
            delivered.behind |= len >= WAITING_MANY && len.is_multiple_of(WAIT_EVERY);
        }
        self.events.push_back(event);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}
