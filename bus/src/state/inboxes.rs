//! Messages between the workers of one process, in bounded lock-free inboxes.

use std::collections::HashMap;
use std::sync::Arc;

use bus_proto::balancer::Shared;
use bus_proto::socket::Remote;
use bus_proto::{Claims, Framing, PipeId, RequestId};
use bytes::Bytes;
use crossbeam_queue::ArrayQueue;
use tokio::sync::Notify;

/// Capacity of the inbox of one worker.
const INBOX_LEN: usize = 8192;

/// Places of the inbox that are reserved for letters that are sent only once: membership and lost
/// replies.
const RESERVED: usize = 1024;

/// The part of the reserved places that only membership uses.
const RESERVED_FOR_MEMBERSHIP: usize = 512;

/// What a worker needs to know about another worker's connection to open a pipe that stands for it.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) remote: Remote,
    pub(crate) framing: Framing,
    pub(crate) shared: Arc<Shared>,
    /// The accepted claims of the peer, on every worker.
    pub(crate) claims: Option<Arc<Claims>>,
}

/// The content of a letter.
pub(crate) enum Crossing {
    /// A hello or a drain, received from `origin`. It concerns all workers.
    Message { origin: Connection, message: Bytes },
    /// A reply to a request of the receiving worker, received from `origin`.
    Reply { origin: Connection, message: Bytes },
    /// A reply to this request of the receiving worker was dropped, because the inbox was full. It
    /// came by the pipe `Letter::from`.
    ReplyLost(RequestId),
    /// The pipe `Letter::from` is closed.
    Closed,
    /// An event for the receiving worker's subscribers.
    Event(Bytes),
    /// Encoded messages to write to a pipe of the receiving worker.
    Write { pipe: PipeId, batch: Batch },
}

/// Messages that were queued on a pipe that stands for another worker's.
pub(crate) struct Batch {
    pub(crate) chunks: Vec<Bytes>,
    pub(crate) messages: usize,
    /// True when one of the messages must be written before the process ends.
    pub(crate) owed: bool,
}

/// A message from one worker to another.
pub(crate) struct Letter {
    pub(crate) from: Remote,
    pub(crate) content: Crossing,
}

/// The inbox of one worker.
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

    /// Sends a letter to worker `to`. False when there is no such worker or its inbox is full.
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

/// The local pipes that stand for other workers' pipes.
pub(crate) type Remotes = HashMap<Remote, PipeId>;

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: Remote = Remote { worker: 0, pipe: PipeId { index: 0, generation: 0 } };

    /// An event, which may not use the reserved places.
    fn traffic() -> Crossing {
        Crossing::Event(Bytes::new())
    }

    #[test]
    fn lost_replies_are_reported_to_a_worker_whose_inbox_is_full() {
        let inboxes = Inboxes::new(2);
        while inboxes.send(1, FROM, traffic()) {}
        let told = (0..).take_while(|id| inboxes.send(1, FROM, Crossing::ReplyLost(RequestId(*id)))).count();
        assert_eq!(told, RESERVED - RESERVED_FOR_MEMBERSHIP);
        assert!(inboxes.send(1, FROM, Crossing::Closed), "lost replies leave room for membership");
    }
}
