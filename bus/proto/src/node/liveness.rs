//! Time: deadlines, pings to peers that have gone quiet, and the end of a drain.
//!
//! Only a peer that has answered a ping once can be found silent: a stock guest that never learnt to answer is watched
//! by the transport's keepalive alone. Silence is not the end: the pipe stays, and speaks again when the peer does.

use std::time::{Duration, Instant};

use super::{Input, Node};
use crate::envelope::{Correlation, Header, Kind};
use crate::socket::PipeId;

/// A peer not heard for this long, or that has never answered, is pinged; also how often is looked.
pub(super) const PING_AFTER: Duration = Duration::from_millis(500);
/// Pings without an answer after which a peer counts as silent. A busy process may be late by one.
pub(super) const PINGS_UNANSWERED_MAX: u32 = 2;

impl Node {
    /// When [`Node::handle_timeout`] has something to do next.
    #[must_use]
    pub fn next_timeout(&self) -> Instant {
        self.pending.next_timeout().map_or(self.liveness_at, |deadline| deadline.min(self.liveness_at))
    }

    /// Expires what is due, and looks after quiet peers.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.expire(now);
        if now < self.liveness_at {
            return;
        }
        self.liveness_at = now + PING_AFTER;
        self.directory.tick(now);
        for pipe in self.own_pipes() {
            self.look_after(now, pipe);
        }
        for pipe in self.stand_ins() {
            self.look_at_owner(now, pipe);
        }
    }

    /// A pipe that stands for another worker's is as silent as that.
    fn look_at_owner(&mut self, now: Instant, id: PipeId) {
        let Some(pipe) = self.socket.pipe_mut(id) else { return };
        let is_silent = pipe.load.shared.as_ref().is_some_and(|shared| shared.is_silent());
        let was_silent = std::mem::replace(&mut pipe.silent, is_silent);
        if is_silent && !was_silent {
            self.lose_outstanding(now, id, Some(true));
        }
    }

    fn look_after(&mut self, now: Instant, id: PipeId) {
        let Some(pipe) = self.socket.pipe_mut(id) else { return };
        let is_quiet = now.saturating_duration_since(pipe.heard) >= PING_AFTER;
        // One that is never quiet is pinged until it has answered once, or its silence would never mean anything.
        if pipe.hello.is_none() || (pipe.answers_pings && !is_quiet) {
            return;
        }
        if pipe.answers_pings && !pipe.silent && pipe.pings_unanswered >= PINGS_UNANSWERED_MAX {
            pipe.set_silent(true);
            self.counters.peers_silent += 1;
            self.update_shares();
            self.lose_outstanding(now, id, Some(true));
        }
        let Some(pipe) = self.socket.pipe_mut(id) else { return };
        pipe.pings_unanswered = pipe.pings_unanswered.saturating_add(1);
        if pipe.out.is_empty() {
            let correlation = self.next_correlation();
            self.send_plain(id, &Header { correlation, ..Header::new(Kind::Ping) });
        }
    }

    pub(super) fn handle_ping(&mut self, pipe: PipeId, ping: &Header) -> Input {
        self.counters.pings_received += 1;
        self.send_plain(pipe, &Header { correlation: ping.correlation, ..Header::new(Kind::Pong) });
        Input::Done
    }

    pub(super) fn handle_pong(&mut self, pipe: PipeId, pong: &Header) -> Input {
        self.counters.pongs_received += 1;
        if let Some(pipe) = self.socket.pipe_mut(pipe) {
            pipe.answers_pings = true;
            let Correlation { origin, request } = pong.correlation;
            if origin == self.config.origin && pipe.barrier == Some(request) {
                pipe.barrier = None;
            }
        }
        Input::Done
    }

    /// Sends every peer a drain, and continues as before: a peer that dialled in dials again,
    /// beside this pipe.
    pub fn leave(&mut self) {
        for id in self.own_pipes() {
            self.send_plain(id, &Header::new(Kind::Drain));
        }
    }

    /// Asks every peer to send no new requests, and pings it: pipes keep order, so the pong shows that no request
    /// sent before it saw the drain is still on its way.
    pub fn drain(&mut self) {
        self.draining = true;
        if self.config.hello.is_none() {
            return; // Nobody sends requests to one who never said what it serves.
        }
        for id in self.own_pipes() {
            self.send_plain(id, &Header::new(Kind::Drain));
            let correlation = self.next_correlation();
            self.send_plain(id, &Header { correlation, ..Header::new(Kind::Ping) });
            if let Some(pipe) = self.socket.pipe_mut(id) {
                pipe.barrier = Some(correlation.request);
            }
        }
    }

    /// Whether every peer that was asked to drain has answered.
    #[must_use]
    pub fn drain_was_read(&self) -> bool {
        self.socket.pipes().all(|(_, pipe)| pipe.barrier.is_none())
    }

    /// True when everything that is owed to a peer is written: replies, and events of this process.
    /// Events that are only relayed may go on for ever and do not count.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.socket.pipes().all(|(_, pipe)| !pipe.owes())
    }

    /// True once [`Node::drain`] was called.
    #[must_use]
    pub const fn is_draining(&self) -> bool {
        self.draining
    }
}
