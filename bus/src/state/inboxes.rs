//! What passes between the workers of one process: letters in bounded lock-free inboxes.

use std::collections::HashMap;
use std::sync::Arc;

use bus_proto::balancer::Shared;
use bus_proto::socket::Remote;
use bus_proto::{Claims, Framing, PipeId, RequestId};
use bytes::Bytes;
use crossbeam_queue::ArrayQueue;
use tokio::sync::Notify;

/// Messages that wait for one worker.
const INBOX_LEN: usize = 8192;

/// Places of the inbox that are kept for letters which are sent once: membership and lost replies.
const RESERVED: usize = 1024;

/// Of the reserved places, those that are kept for membership.
const RESERVED_FOR_MEMBERSHIP: usize = 512;

/// What a worker has to know of another's connection to stand in for it.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) remote: Remote,
    pub(crate) framing: Framing,
    pub(crate) shared: Arc<Shared>,
    /// What the peer may claim, by any worker.
    pub(crate) claims: Option<Arc<Claims>>,
}

/// What passes between workers.
pub(crate) enum Crossing {
    /// A message that came by `origin`, for everybody's eyes: a hello or a drain.
    Message { origin: Connection, message: Bytes },
    /// A reply to a request of the receiver, which came by `origin`.
    Reply { origin: Connection, message: Bytes },
    /// A reply to this request of the receiver, which came by the pipe named by `Letter::from`,
    /// found no room in the inbox.
    ReplyLost(RequestId),
    /// The sender's pipe named by `Letter::from` is closed.
    Closed,
    /// An event for the receiver's subscribers.
    Event(Bytes),
    /// Encoded messages to write to a pipe of the receiver.
    Write { pipe: PipeId, batch: Batch },
}

/// What was queued on a pipe that stands for another worker's.
pub(crate) struct Batch {
    pub(crate) chunks: Vec<Bytes>,
    pub(crate) messages: usize,
    /// It holds a message that has to be written before the process ends.
    pub(crate) owed: bool,
}

/// One message between workers.
pub(crate) struct Letter {
    pub(crate) from: Remote,
    pub(crate) content: Crossing,
}

/// The letters of one worker.
pub(crate) struct Inbox {
    pub(crate) letters: ArrayQueue<Letter>,
    pub(crate) arrived: Notify,
}

/// The inboxes of all workers of a process.
pub(crate) struct Inboxes {
    pub(crate) inboxes: Vec<Inbox>,
}

impl Inboxes {
    pub(crate) fn new(workers: usize) -> Self {
        let inbox = || Inbox { letters: ArrayQueue::new(INBOX_LEN), arrived: Notify::new() };
        Self { inboxes: std::iter::repeat_with(inbox).take(workers).collect() }
    }

    pub(crate) const fn len(&self) -> usize {
        self.inboxes.len()
    }

    /// False when there is no such worker, or no room.
    pub(crate) fn send(&self, to: u8, from: Remote, content: Crossing) -> bool {
        let Some(inbox) = self.inboxes.get(usize::from(to)) else { return false };
        let kept_free = match content {
            Crossing::Message { .. } | Crossing::Closed => 0,
            Crossing::ReplyLost(_) => RESERVED_FOR_MEMBERSHIP,
            Crossing::Reply { .. } | Crossing::Event(_) | Crossing::Write { .. } => RESERVED,
        };
        let has_room = inbox.letters.len() < INBOX_LEN - kept_free;
        let sent = has_room && inbox.letters.push(Letter { from, content }).is_ok();
        inbox.arrived.notify_one();
        sent
    }
}

/// The local pipes that stand for others.
pub(crate) type Remotes = HashMap<Remote, PipeId>;

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: Remote = Remote { worker: 0, pipe: PipeId { index: 0, generation: 0 } };

    /// An event, which is traffic.
    fn traffic() -> Crossing {
        Crossing::Event(Bytes::new())
    }

    #[test]
    fn a_worker_whose_inbox_is_full_still_hears_which_replies_it_lost() {
        let inboxes = Inboxes::new(2);
        while inboxes.send(1, FROM, traffic()) {}
        let told = (0..).take_while(|id| inboxes.send(1, FROM, Crossing::ReplyLost(RequestId(*id)))).count();
        assert_eq!(told, RESERVED - RESERVED_FOR_MEMBERSHIP);
        assert!(inboxes.send(1, FROM, Crossing::Closed), "lost replies leave room for membership");
    }
}
