//! Dispatches one message: the node handles it, and this module carries out what the node returns.

use std::rc::Rc;
use std::time::Instant;

use bus_proto::{Input, Pattern, PipeId};
use bytes::Bytes;
use tracing::{debug, info, warn};

use crate::state::inboxes::Crossing;
use crate::state::inner::Inner;

/// What the caller must do after a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handled {
    /// Nothing.
    Done,
    /// The message was a hello, whose cost is charged to its pipe.
    Hello,
    /// A subscriber should run before more is read.
    Behind,
}

impl Inner {
    /// Handles one message received on a pipe of this worker, or on one that stands for another
    /// worker's.
    pub(crate) fn handle_message(self: &Rc<Self>, now: Instant, pipe: PipeId, message: Bytes) -> Handled {
        let shared = (self.inboxes.len() > 1).then(|| message.clone());
        let input = self.node.borrow_mut().handle_message(now, pipe, message);
        match input {
            Input::Done => {}
            Input::Serve { envelope, deadline } => self.serve(now, pipe, envelope, deadline),
            Input::Cancelled(correlation) => self.cancel_serving(pipe, correlation),
            Input::Finish(correlation) => self.serving.finishing.tell((pipe, correlation)),
            Input::Event(envelope) => {
                self.share(pipe, || Crossing::Event(envelope.message().clone()));
                if self.deliver(envelope) {
                    return Handled::Behind;
                }
            }
            Input::Forward { worker, request, message } => self.forward(pipe, worker, request, message),
            Input::Hello { conflicts, forbidden, displaced } => {
                self.log_hello(pipe, &conflicts, &forbidden);
                self.joined.notify_waiters();
                for (loser, pattern) in displaced {
                    let (peer, route) = (self.describe(loser), pattern.to_string());
                    warn!(%peer, route = %route.escape_debug(), by = %self.describe(pipe), "route taken over by another peer");
                }
                self.share_message(pipe, shared);
                return Handled::Hello;
            }
            Input::HelloRefused(error) => {
                warn!(peer = %self.describe(pipe), %error, "hello refused");
                return Handled::Hello;
            }
            Input::Drain => {
                info!(peer = %self.describe(pipe), "peer is draining");
                self.share_message(pipe, shared);
                let drains = self.others.borrow().get(&pipe).and_then(|other| other.drains.clone());
                if let Some(drains) = drains {
                    drains();
                }
            }
        }
        Handled::Done
    }

    pub(crate) fn pipe_closed(&self, pipe: PipeId) {
        self.node.borrow_mut().close_pipe(Instant::now(), pipe);
        self.others.borrow_mut().remove(&pipe);
        self.cancel_all(pipe);
        self.share(pipe, || Crossing::Closed);
    }

    fn log_hello(&self, pipe: PipeId, conflicts: &[(Pattern, String)], forbidden: &[Pattern]) {
        let peer = self.describe(pipe);
        for pattern in forbidden {
            let route = pattern.to_string();
            warn!(%peer, route = %route.escape_debug(), "route refused: the listener does not allow this claim");
        }
        for (pattern, holder) in conflicts {
            let (route, holder) = (pattern.to_string(), holder.escape_debug());
            warn!(%peer, route = %route.escape_debug(), %holder, "route refused: another service holds it");
        }
        debug!(%peer, "hello");
    }
}
