//! The state that the tasks of one worker's bus share.
//!
//! Everything here belongs to one thread. The node is borrowed only for single calls, never while a
//! handler runs and never across an await.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bus_proto::{Hello, Node, PipeId};
use bytes::BytesMut;
use tokio::sync::{Notify, watch};
use tracing::debug;

use crate::bind::Config;
use crate::io::transport::Writer;
use crate::state::busy_poll::{BusyPoll, Traffic};
use crate::state::dials::Dials;
use crate::state::hold::Holding;
use crate::state::inboxes::{Inboxes, Remotes};
use crate::state::listening::Listening;
use crate::state::places::Places;
use crate::state::serving::Serving;
use crate::state::subscription::Subscriptions;
use crate::state::timer::Timer;

/// The shared state of one worker's bus.
pub(crate) struct Inner {
    pub(crate) node: RefCell<Node>,
    pub(crate) config: Config,
    pub(crate) timer: Timer,
    pub(crate) busy_poll: BusyPoll,
    /// The buffer that all pipes of the worker read into in turn.
    pub(crate) read_buffer: RefCell<BytesMut>,
    pub(crate) serving: Serving,
    pub(crate) inboxes: Arc<Inboxes>,
    pub(crate) worker: u8,
    pub(crate) remotes: RefCell<Remotes>,
    /// Watched by the tasks that accept.
    pub(crate) listening: watch::Sender<Listening>,
    /// Notified of every accepted hello.
    pub(crate) joined: Arc<Notify>,
    pub(crate) holding: Holding,
    /// Number of copies whose replies are expected.
    pub(crate) shadows: Cell<usize>,
    pub(crate) subscriptions: RefCell<Subscriptions>,
    pub(crate) dials: RefCell<Dials>,
    pub(crate) places: Arc<Places>,
    /// The peer of each connection of this worker.
    pub(crate) others: RefCell<HashMap<PipeId, Other>>,
}

/// The peer of a connection.
pub(crate) struct Other {
    pub(crate) from: String,
    /// The endpoint's number in `dials` when this side dialled.
    pub(crate) dialled: Option<usize>,
    writer: Rc<Writer>,
    /// True when its connection was closed to make room.
    evicted: Cell<bool>,
    /// Called whenever the peer says that it drains.
    pub(crate) drains: Option<Rc<dyn Fn()>>,
}

impl Other {
    pub(crate) const fn new(
        from: String,
        dialled: Option<usize>,
        writer: Rc<Writer>,
        drains: Option<Rc<dyn Fn()>>,
    ) -> Self {
        Self { from, dialled, writer, evicted: Cell::new(false), drains }
    }
}

impl Inner {
    /// The figures that busy polling watches.
    pub(crate) fn traffic(&self) -> Traffic {
        let node = self.node.borrow();
        Traffic { sent: node.counters.requests_sent, outstanding: node.pending.len() }
    }

    /// Delivers an event to this worker's subscribers. True when one of them should run before more
    /// is read.
    #[inline]
    pub(crate) fn deliver(&self, envelope: bus_proto::Envelope) -> bool {
        let delivered = self.subscriptions.borrow_mut().deliver(envelope);
        if delivered.dropped > 0 {
            self.node.borrow_mut().counters.events_dropped += delivered.dropped;
        }
        delivered.behind
    }

    /// Closes the connection of the peer that dialled in to this worker and has sent no message for
    /// the longest time. False when there is none. Its task ends and frees its place a moment
    /// later.
    ///
    /// A stock peer that only receives events never sends a message either, so this is done only
    /// when no places are left.
    pub(crate) fn evict_silent(&self) -> bool {
        let mut node = self.node.borrow_mut();
        let others = self.others.borrow();
        let candidate = |(id, pipe): (PipeId, &bus_proto::socket::Pipe)| {
            let other = others.get(&id).filter(|other| other.dialled.is_none() && !other.evicted.get())?;
            (!pipe.has_spoken).then_some((pipe.heard, other))
        };
        let oldest = node.socket.pipes().filter_map(candidate).min_by_key(|(since, _)| *since);
        let Some((_, other)) = oldest else { return false };
        other.evicted.set(true);
        other.writer.shut_down();
        node.counters.pipes_evicted += 1;
        debug!(peer = %other.from, "closed to make room: the peer had sent no message");
        true
    }

    /// Closes the connections of this worker to these instances that have no request outstanding.
    /// Their tasks end a moment later.
    pub(crate) fn dismiss(&self, instances: &[String]) {
        let node = self.node.borrow();
        let others = self.others.borrow();
        for (id, pipe) in node.socket.pipes() {
            let name = pipe.hello.as_ref().map(|hello| format!("{}/{}", hello.service, hello.instance));
            let is_meant = name.is_some_and(|name| instances.contains(&name));
            if let Some(other) = others.get(&id).filter(|_| is_meant)
                && pipe.load.is_below(1)
                && node.pending.waiting_on(id).is_empty()
            {
                other.writer.shut_down();
            }
        }
    }

    /// Closes the connections to the endpoint with this number. Their tasks end a moment later.
    pub(crate) fn close_dialled(&self, at: usize) {
        let others = self.others.borrow();
        others.values().filter(|other| other.dialled == Some(at)).for_each(|other| other.writer.shut_down());
    }

    /// To be called for every request that was put into an out-queue.
    #[inline]
    pub(crate) fn sent(&self, node: &mut Node, deadline: Instant) {
        self.flush_due(node);
        self.busy_poll.sent(node.pending.len());
        self.timer.arm(deadline);
    }

    pub(crate) fn pipe_opened(&self, pipe: PipeId, other: Other) {
        self.others.borrow_mut().insert(pipe, other);
    }

    /// Writes a full batch, if there is one. What the system does not accept now, and errors, are
    /// left to the pipe's task.
    pub(crate) fn flush_due(&self, node: &mut Node) {
        let Some(id) = node.socket.take_due() else { return };
        if let (Some(pipe), Some(other)) = (node.socket.pipe_mut(id), self.others.borrow().get(&id)) {
            let _ = other.writer.try_flush(&mut pipe.out);
        }
    }

    /// The name and address of a pipe's peer, for logs.
    pub(crate) fn describe(&self, pipe: PipeId) -> String {
        let node = self.node.borrow();
        let hello = node.socket.pipe(pipe).and_then(|pipe| pipe.hello.as_ref());
        let name = hello.map(name_for_log).unwrap_or_default();
        let others = self.others.borrow();
        format!("{name}{}", others.get(&pipe).map_or("another worker", |other| other.from.as_str()))
    }

    pub(crate) fn is_idle(&self, may_be_unread: bool) -> bool {
        let node = self.node.borrow();
        self.serving.waiting() == 0
            && node.pending.is_empty()
            && (may_be_unread || node.drain_was_read())
            && node.is_flushed()
    }
}

/// The names are chosen by the peer. They are escaped so that they cannot forge log lines.
fn name_for_log(hello: &Hello) -> String {
    format!("{}/{} at ", hello.service.escape_debug(), hello.instance.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peers_name_cannot_break_out_of_its_log_line() {
        let name = name_for_log(&Hello::new("a\nforged", "1", "\0\u{1b}[31m"));
        assert!(!name.contains(char::is_control), "{name:?}");
        assert!(name.contains("forged"), "{name:?}");
    }
}
