//! Events for the parts of this process that asked for them, each with a bounded queue.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};

use bus_proto::Envelope;

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
    by_topic: HashMap<String, Topic>,
    /// A subscriber has many events to take.
    behind: bool,
}

impl Subscriptions {
    /// A new subscriber of `topic`; true when it is the first.
    pub(crate) fn add(&mut self, topic: &str) -> (Subscription, bool) {
        let queue = Rc::default();
        let known = self.by_topic.entry(topic.to_owned());
        let known = known.or_insert_with(|| Topic { name: topic.into(), queues: Vec::new() });
        let is_first = known.queues.is_empty();
        known.queues.push(Rc::downgrade(&queue));
        (Subscription { queue }, is_first)
    }

    /// Whether a subscriber ought to have its turn before more is read; said once.
    pub(crate) fn are_behind(&mut self) -> bool {
        std::mem::take(&mut self.behind)
    }

    /// Hands an event to its subscribers; how many events were dropped for it.
    pub(crate) fn deliver(&mut self, envelope: &Envelope) -> u64 {
        let topic = envelope.field(":topic").and_then(|topic| std::str::from_utf8(topic).ok());
        let Some(Topic { name, queues }) = topic.and_then(|topic| self.by_topic.get_mut(topic)) else {
            return 0;
        };
        let behind = &mut self.behind;
        let mut dropped = 0;
        queues.retain(|queue| {
            let Some(queue) = queue.upgrade() else { return false };
            let mut queue = queue.borrow_mut();
            if queue.events.len() == WAITING_MAX {
                queue.events.pop_front();
                dropped += 1;
            } else {
                let len = queue.events.len() + 1;
                *behind |= len >= WAITING_MANY && len.is_multiple_of(WAIT_EVERY);
            }
            queue.events.push_back(Event { topic: Rc::clone(name), envelope: envelope.clone() });
            if let Some(waker) = queue.waker.take() {
                waker.wake();
            }
            true
        });
        dropped
    }
}
