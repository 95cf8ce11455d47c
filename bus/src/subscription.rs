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

/// Who wants which topic, on one worker.
#[derive(Default)]
pub(crate) struct Subscriptions {
    by_topic: HashMap<String, Vec<Weak<RefCell<Queue>>>>,
}

impl Subscriptions {
    /// A new subscriber of `topic`; true when it is the first.
    pub(crate) fn add(&mut self, topic: &str) -> (Subscription, bool) {
        let queue = Rc::default();
        let known = self.by_topic.entry(topic.to_owned()).or_default();
        let is_first = known.is_empty();
        known.push(Rc::downgrade(&queue));
        (Subscription { queue }, is_first)
    }

    /// Hands an event to its subscribers; how many events were dropped for it.
    pub(crate) fn deliver(&mut self, envelope: &Envelope) -> u64 {
        let topic = envelope.field(":topic").and_then(|topic| std::str::from_utf8(topic).ok());
        let Some((topic, queues)) = topic.and_then(|topic| Some((topic, self.by_topic.get_mut(topic)?)))
        else {
            return 0;
        };
        let mut dropped = 0;
        queues.retain(|queue| {
            let Some(queue) = queue.upgrade() else { return false };
            let mut queue = queue.borrow_mut();
            if queue.events.len() == WAITING_MAX {
                queue.events.pop_front();
                dropped += 1;
            }
            queue.events.push_back(Event { topic: topic.to_owned(), envelope: envelope.clone() });
            if let Some(waker) = queue.waker.take() {
                waker.wake();
            }
            true
        });
        dropped
    }
}
