//! Passes on to the other workers what came by a connection of this worker: to all of them, or to
//! the one concerned.

use std::sync::Arc;

use bus_proto::socket::Remote;
use bus_proto::{PipeId, RequestId};
use bytes::Bytes;

use crate::state::inboxes::{Connection, Crossing};
use crate::state::inner::Inner;

impl Inner {
    /// Sends a letter about a pipe of this worker to all other workers.
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

    /// Passes on a reply that came by a connection of this worker to the worker that asked.
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

    pub(crate) fn cross(&self, to: u8, pipe: PipeId, content: Crossing) -> bool {
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
}
