//! Subscriptions to events within this process, each with a bounded queue.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use bus_proto::Envelope;
use foldhash::fast::RandomState;

use crate::message::Event;

/// Events that may wait for one subscriber. When the queue is full, the oldest event is dropped and
/// counted.
const WAITING_MAX: usize = 1024;
/// At this queue length and above, the deliverer yields now and then, so that an idle subscriber
/// can drain its queue. It does not yield for a full queue.
const WAITING_MANY: usize = WAITING_MAX / 2;
/// Events between two yields. It leaves room for events of other pipes.
const WAIT_EVERY: usize = 64;

/// A subscription to the events of one topic.
pub struct Subscription {
    queue: Shared,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Event>,
    waker: Option<Waker>,
}

impl Subscription {
    /// The next event.
    ///
    /// **Cancel safety**: safe; no event is lost.
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

impl Drop for Subscription {
    /// Frees the waiting events. The empty queue is removed at the next event of its topic.
    fn drop(&mut self) {
        self.queue.borrow_mut().events = VecDeque::new();
    }
}

struct Topic {
    name: Box<[u8]>,
    queues: Vec<Shared>,
}

/// A queue that is shared with its subscriber.
type Shared = Rc<RefCell<Queue>>;

/// The subscriptions of one worker, by topic.
#[derive(Default)]
pub(crate) struct Subscriptions {
    topics: Vec<Topic>,
    by_name: HashMap<Box<[u8]>, usize, RandomState>,
    /// Index of the topic of the last event, which the next event often has too.
    last: usize,
}

/// The result of a delivery.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Delivered {
    /// Number of older events that were dropped to make room.
    pub(crate) dropped: u64,
    /// True when a subscriber has many waiting events and should run before more is read.
    pub(crate) behind: bool,
}

impl Subscriptions {
    /// Adds a subscriber of `topic`. The second value is true when it is the first one.
    pub(crate) fn add(&mut self, topic: &str) -> (Subscription, bool) {
        let queue = Shared::default();
        let at = *self.by_name.entry(topic.as_bytes().into()).or_insert_with(|| {
            self.topics.push(Topic { name: topic.as_bytes().into(), queues: Vec::new() });
            self.topics.len() - 1
        });
        let queues = &mut self.topics[at].queues;
        queues.retain(is_wanted);
        let is_first = queues.is_empty();
        queues.push(Rc::clone(&queue));
        (Subscription { queue }, is_first)
    }

    /// Delivers an event to its subscribers.
    #[inline]
    pub(crate) fn deliver(&mut self, envelope: Envelope) -> Delivered {
        let mut delivered = Delivered::default();
        let Some(at) = envelope.field(":topic").and_then(|topic| self.find(topic)) else { return delivered };
        self.last = at;
        let queues = &mut self.topics[at].queues;
        let mut gone = false;
        let mut give = |queue: &Shared, envelope| {
            if is_wanted(queue) {
                queue.borrow_mut().give(Event { envelope }, &mut delivered);
            } else {
                gone = true;
            }
        };
        if let Some((last, others)) = queues.split_last() {
            others.iter().for_each(|queue| give(queue, envelope.clone()));
            give(last, envelope);
        }
        if gone {
            queues.retain(is_wanted);
        }
        delivered
    }

    #[inline]
    fn find(&self, topic: &[u8]) -> Option<usize> {
        let is_last = self.topics.get(self.last).is_some_and(|last| *last.name == *topic);
        if is_last { Some(self.last) } else { self.by_name.get(topic).copied() }
    }
}

/// True while the subscriber exists.
fn is_wanted(queue: &Shared) -> bool {
    Rc::strong_count(queue) > 1
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

#[cfg(test)]
mod tests {
    use bus_proto::{HeadWriter, Header, envelope::Kind};
    use bytes::{Bytes, BytesMut};

    use super::*;

    fn event(topic: &[u8], body: &str) -> Envelope {
        let mut head = BytesMut::new();
        let mut writer = HeadWriter::new(&mut head);
        writer.field(":topic", topic);
        let len = u32::try_from(writer.finish().unwrap()).unwrap();
        let message = [&Header::new(Kind::Event).to_bytes(len)[..], &head, body.as_bytes()].concat();
        Envelope::decode(Bytes::from(message)).unwrap()
    }

    fn bodies(subscription: &Subscription) -> Vec<String> {
        let queue = subscription.queue.borrow();
        queue.events.iter().map(|event| String::from_utf8_lossy(event.envelope.body_bytes()).into()).collect()
    }

    #[test]
    fn each_subscriber_gets_the_events_of_its_topic_until_it_is_dropped() {
        let mut all = Subscriptions::default();
        all.deliver(event(b"a", "no subscriber"));
        let ((first, is_first), (second, is_second)) = (all.add("a"), all.add("a"));
        assert!(is_first && !is_second);
        let (last, _) = all.add("a");
        let (other, _) = all.add("b");
        for (topic, body) in
            [(&b"a"[..], "1"), (b"b", "2"), (b"none", "3"), (b"\xff", "4"), (b"", "5"), (b"a", "6")]
        {
            all.deliver(event(topic, body));
        }
        for subscription in [&first, &second, &last] {
            assert_eq!(bodies(subscription), ["1", "6"]);
        }
        assert_eq!(bodies(&other), ["2"]);
        drop((last, first));
        all.deliver(event(b"a", "7"));
        assert_eq!(bodies(&second), ["1", "6", "7"]);
        assert_eq!(all.topics[0].queues.len(), 1);
        drop(second);
        (0..100).for_each(|_| drop(all.add("a")));
        assert!(all.add("a").1 && all.topics[0].queues.len() == 1, "dropped subscribers are removed");
    }

    #[test]
    fn of_a_slow_subscriber_the_oldest_events_are_dropped() {
        let mut all = Subscriptions::default();
        let ((slow, _), (fast, _)) = (all.add("a"), all.add("a"));
        let (mut dropped, mut behind) = (0, 0);
        for at in 0..WAITING_MAX + 10 {
            let delivered = all.deliver(event(b"a", &at.to_string()));
            fast.queue.borrow_mut().events.pop_front();
            dropped += delivered.dropped;
            behind += usize::from(delivered.behind);
        }
        assert_eq!((dropped, bodies(&slow)[0].as_str(), bodies(&fast).len()), (10, "10", 0));
        assert_eq!(behind, (WAITING_MAX - WAITING_MANY) / WAIT_EVERY + 1);
    }
}
