//! Letters from the other workers, and pipes that stand for their connections.
//!
//! A peer with one connection has its pipe on one worker. The other workers receive its hello as a
//! letter and open a pipe without a connection. Messages queued there are sent to the owning
//! worker's inbox, and replies return the same way. The workers share nothing but the inboxes and
//! [`Shared`](bus_proto::balancer::Shared).

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use bus_proto::limits::GUEST_QUEUE;
use bus_proto::socket::Remote;
use bus_proto::{Envelope, PipeId};

use crate::state::inboxes::{Batch, Connection, Crossing, Letter};
use crate::state::inner::Inner;
use crate::tasks::dispatch::Handled;

/// Receives letters for as long as the bus exists.
pub(crate) async fn receive(inner: Rc<Inner>) {
    let inboxes = Arc::clone(&inner.inboxes);
    let inbox = &inboxes.inboxes[usize::from(inner.worker)];
    loop {
        let arrived = inbox.arrived.notified();
        // Bounded by the present length, so that a flood from one worker does not starve this
        // worker's connections.
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
                // This worker may have received the event on a pipe of its own, or have published
                // it.
                let is_news = self.node.borrow_mut().is_news(envelope.header().correlation, from);
                if is_news && self.deliver(envelope) {
                    return Handled::Behind;
                }
            }
            Crossing::Write { pipe, batch } => self.write(from, pipe, &batch),
        }
        Handled::Done
    }

    /// Queues a batch that another worker encoded on a connection of this worker.
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
            // The letter about the closed pipe was dropped because the inbox was full. It is
            // repeated, or the other worker would continue to send.
            let _ = self.cross(from.worker, pipe, Crossing::Closed);
        }
    }

    /// The pipe that stands for another worker's connection. It is opened at the first message.
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

/// Sends the messages queued on a pipe that stands for another worker's connection to that worker,
/// batch by batch.
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
            // The owning worker does not divide a batch, so batches for a paced peer must be small.
            let (chunks, messages) =
                if pipe.paced { pipe.out.take_some(GUEST_QUEUE / 2) } else { pipe.out.take() };
            Poll::Ready(Some(Batch { chunks, messages, owed }))
        });
        let Some(batch) = batch.await else { return };
        let _ = inner.cross(remote.worker, pipe, Crossing::Write { pipe: remote.pipe, batch });
    }
}
