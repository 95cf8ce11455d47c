//! Time: deadlines, pings to quiet peers, and the end of a drain.
//!
//! Only a peer that has answered a ping before can become silent. A stock guest that never answers
//! pings is watched by the transport's keepalive alone. A silent peer keeps its pipe, and any
//! message from it ends the silence.

use std::time::{Duration, Instant};

use super::{Input, Node};
use crate::envelope::{Correlation, Header, Kind};
use crate::socket::PipeId;

/// A peer is pinged when it has sent nothing for this long or has never answered a ping. Also the
/// interval of these checks.
pub(super) const PING_AFTER: Duration = Duration::from_millis(500);
/// Unanswered pings after which a peer counts as silent. A busy process may answer one of them
/// late.
pub(super) const PINGS_UNANSWERED_MAX: u32 = 2;

impl Node {
    /// The time at which [`Node::handle_timeout`] must be called next.
    #[must_use]
    pub fn next_timeout(&self) -> Instant {
        self.pending.next_timeout().map_or(self.liveness_at, |deadline| deadline.min(self.liveness_at))
    }

    /// Expires requests whose deadline has passed, and checks quiet peers.
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

    /// Copies the silence of another worker's connection to the pipe that stands for it.
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
        // A peer that is never quiet is pinged until it has answered once; otherwise it could never
        // become silent.
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

    /// Sends every peer a drain and changes nothing else: a peer that dialled in dials again,
    /// beside this pipe.
    pub fn leave(&mut self) {
        for id in self.own_pipes() {
            self.send_plain(id, &Header::new(Kind::Drain));
        }
    }

    /// Asks every peer to send no new requests, and pings it. A pipe keeps its order, so after the
    /// pong no request is under way that the peer sent before it saw the drain.
    pub fn drain(&mut self) {
        self.draining = true;
        if self.config.hello.is_none() {
            return; // Without a hello no peer sends requests here.
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

    /// True when every peer that was asked to drain has answered the ping.
    #[must_use]
    pub fn drain_was_read(&self) -> bool {
        self.socket.pipes().all(|(_, pipe)| pipe.barrier.is_none())
    }

    /// True when everything owed to a peer is written: replies, and events that this process
    /// published. Relayed events do not count, because they may arrive without end.
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
