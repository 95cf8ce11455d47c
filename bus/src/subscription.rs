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
/// With so many the pipe waits for one turn of the loop, in which a subscriber that is not busy takes them all. For one
/// that is, nobody waits again.
const WAITING_MANY: usize = WAITING_MAX / 2;

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
            }
            queue.events.push_back(Event { topic: Rc::clone(name), envelope: envelope.clone() });
            *behind |= queue.events.len() == WAITING_MANY;
            if let Some(waker) = queue.waker.take() {
                waker.wake();
            }
            true
        });
        dropped
    }
}
