//! Between the workers of one process: bounded lock-free inboxes, and pipes that stand for another worker's.
//!
//! A peer that dialled in once has its pipe on one worker. The others learn of it by its hello and open a pipe
//! without a connection, whose messages go to the owner's inbox; replies come back the same way. Nothing is shared
//! but the inboxes.

use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use bus_proto::balancer::Shared;
use bus_proto::limits::GUEST_QUEUE;
use bus_proto::socket::Remote;
use bus_proto::{Claims, Envelope, Framing, PipeId, RequestId};
use bytes::Bytes;
use crossbeam_queue::ArrayQueue;
use tokio::sync::Notify;

use crate::bus::{Handled, Inner};

/// Messages that wait for one worker.
const INBOX_LEN: usize = 8192;

/// Places of the inbox that are kept for letters which are sent once: membership and lost replies.
const RESERVED: usize = 1024;

/// Of the reserved places, those that are kept for membership.
const RESERVED_FOR_MEMBERSHIP: usize = 512;

/// What a worker has to know of another's connection to stand in for it.
#[derive(Clone)]
pub(crate) struct Connection {
    remote: Remote,
    framing: Framing,
    shared: Arc<Shared>,
    /// What the peer may claim, by any worker.
    claims: Option<Arc<Claims>>,
}

/// What passes between workers.
pub(crate) enum Crossing {
    /// A message that came by `origin`, for everybody's eyes: a hello or a drain.
    Message { origin: Connection, message: Bytes },
    /// A reply to a request of the receiver, which came by `origin`.
    Reply { origin: Connection, message: Bytes },
    /// A reply to this request of the receiver, which came by the pipe named by `Letter::from`, found no
    /// room in the inbox.
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
    chunks: Vec<Bytes>,
    messages: usize,
    /// It holds a message that has to be written before the process ends.
    owed: bool,
}

struct Letter {
    from: Remote,
    content: Crossing,
}

struct Inbox {
    letters: ArrayQueue<Letter>,
    arrived: Notify,
}

/// The inboxes of all workers of a process.
pub(crate) struct Inboxes {
    inboxes: Vec<Inbox>,
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
    fn send(&self, to: u8, from: Remote, content: Crossing) -> bool {
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

/// Takes letters for as long as the bus lives.
pub(crate) async fn receive(inner: Rc<Inner>) {
    let inboxes = Arc::clone(&inner.inboxes);
    let inbox = &inboxes.inboxes[usize::from(inner.worker)];
    loop {
        let arrived = inbox.arrived.notified();
        // Bounded by what was there: a flood from one worker does not starve this one's connections.
        for _ in 0..inbox.letters.len() {
            if inbox.letters.pop().is_some_and(|letter| inner.open_letter(letter) == Handled::Behind) {
                break;
            }
        }
        if inbox.letters.is_empty() {
            arrived.await;
        } else {
            tokio::task::yield_now().await;
        }
    }
}

impl Inner {
    /// Passes what came by a pipe of this worker to all others.
    pub(crate) fn share(&self, pipe: PipeId, content: impl Fn() -> Crossing) {
        if self.inboxes.len() == 1 || self.is_remote(pipe) {
            return;
        }
        for worker in (0..=u8::MAX).take(self.inboxes.len()).filter(|worker| *worker != self.worker) {
            let _ = self.cross(worker, pipe, content());
        }
    }

    pub(crate) fn share_message(&self, pipe: PipeId, message: Option<Bytes>) {
        let (Some(message), Some(origin)) = (message, self.connection(pipe)) else { return };
        self.share(pipe, || Crossing::Message { origin: origin.clone(), message: message.clone() });
    }

    /// Passes on a reply that came by a connection of this worker to a request of another one.
    pub(crate) fn forward(&self, pipe: PipeId, worker: u8, request: RequestId, message: Bytes) {
        let Some(origin) = self.connection(pipe) else { return };
        if usize::from(worker) >= self.inboxes.len() || self.is_remote(pipe) {
            self.node.borrow_mut().counters.reply_late += 1;
            return;
        }
        let shared = Arc::clone(&origin.shared);
        if !self.cross(worker, pipe, Crossing::Reply { origin, message })
            && !self.cross(worker, pipe, Crossing::ReplyLost(request))
        {
            shared.lose(worker);
        }
    }

    fn cross(&self, to: u8, pipe: PipeId, content: Crossing) -> bool {
        let sent = self.inboxes.send(to, Remote { worker: self.worker, pipe }, content);
        let counters = &mut self.node.borrow_mut().counters;
        *(if sent { &mut counters.crossed } else { &mut counters.crossed_dropped }) += 1;
        sent
    }

    fn is_remote(&self, pipe: PipeId) -> bool {
        self.node.borrow().socket.pipe(pipe).is_some_and(|pipe| pipe.remote.is_some())
    }

    fn connection(&self, pipe: PipeId) -> Option<Connection> {
        let node = self.node.borrow();
        let own = node.socket.pipe(pipe)?;
        let shared = own.load.shared.clone()?;
        let (framing, claims) = (own.out.framing(), own.claims.clone());
        Some(Connection { remote: Remote { worker: self.worker, pipe }, framing, shared, claims })
    }

    fn open_letter(self: &Rc<Self>, Letter { from, content }: Letter) -> Handled {
        let now = Instant::now();
        match content {
            Crossing::Message { origin, message } | Crossing::Reply { origin, message } => {
                let pipe = self.stand_in(now, origin);
                return self.handle_message(now, pipe, message);
            }
            Crossing::ReplyLost(request) => {
                let pipe = self.remotes.borrow().get(&from).copied();
                if let Some(pipe) = pipe {
                    self.node.borrow_mut().lose_reply(now, pipe, request);
                }
            }
            Crossing::Closed => {
                let pipe = self.remotes.borrow_mut().remove(&from);
                if let Some(pipe) = pipe {
                    self.pipe_closed(pipe);
                }
            }
            Crossing::Event(message) => {
                let Ok(envelope) = Envelope::decode(message) else { return Handled::Done };
                // This worker may have it by a pipe of its own, or have published it.
                let is_news = self.node.borrow_mut().is_news(envelope.header().correlation, from);
                if is_news && self.deliver(envelope) {
                    return Handled::Behind;
                }
            }
            Crossing::Write { pipe, batch } => self.write(from, pipe, &batch),
        }
        Handled::Done
    }

    /// Puts what another worker encoded into the out-queue of a connection of this one.
    fn write(&self, from: Remote, pipe: PipeId, batch: &Batch) {
        let mut node = self.node.borrow_mut();
        let own = node.socket.pipe_mut(pipe);
        let is_open = own.is_some();
        let Batch { chunks, messages, owed } = batch;
        let written = own.is_some_and(|pipe| pipe.send_encoded(chunks, *messages, *owed).is_ok());
        if !written {
            node.counters.crossed_dropped += *messages as u64;
        }
        drop(node);
        if !is_open {
            // The letter that said so met a full inbox: without this the other worker would go on sending.
            let _ = self.cross(from.worker, pipe, Crossing::Closed);
        }
    }

    /// The pipe that stands for another worker's connection, opened at its first message.
    fn stand_in(self: &Rc<Self>, now: Instant, connection: Connection) -> PipeId {
        let Connection { remote, framing, shared, claims } = connection;
        if let Some(&pipe) = self.remotes.borrow().get(&remote) {
            return pipe;
        }
        let mut node = self.node.borrow_mut();
        let pipe = node.open_remote(now, framing, remote, shared);
        node.restrict(pipe, claims);
        drop(node);
        self.remotes.borrow_mut().insert(remote, pipe);
        tokio::task::spawn_local(ferry(Rc::clone(self), pipe, remote));
        pipe
    }
}

/// Carries what is queued on a pipe that stands for another worker's, batch by batch.
async fn ferry(inner: Rc<Inner>, pipe: PipeId, remote: Remote) {
    loop {
        let batch = poll_fn(|cx| {
            let mut node = inner.node.borrow_mut();
            let Some(pipe) = node.socket.pipe_mut(pipe) else { return Poll::Ready(None) };
            if pipe.out.is_empty() {
                pipe.await_message(cx.waker());
                return Poll::Pending;
            }
            let owed = pipe.owes();
            // The worker that has the connection divides no batch.
            let (chunks, messages) =
                if pipe.paced { pipe.out.take_some(GUEST_QUEUE / 2) } else { pipe.out.take() };
            Poll::Ready(Some(Batch { chunks, messages, owed }))
        });
        let Some(batch) = batch.await else { return };
        let _ = inner.cross(remote.worker, pipe, Crossing::Write { pipe: remote.pipe, batch });
    }
}

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
