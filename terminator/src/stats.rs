//! What one worker has counted, in plain cells.
//!
//! Owns: the counters, and their names in the table of `role::metrics`. Leaves latency per route to
//! `route`, and the bus's counters to crate `bus`. Invariant: every response is counted once, where
//! its request ends (or, for those that answer no request, where they leave), so that the statuses
//! clients saw sum to the responses.

use std::cell::Cell;

use http::StatusCode;
use role::metrics::{Counter, Picture, Statuses};

use crate::rescue::Reason;

/// One worker's counters.
#[derive(Debug, Default)]
pub struct Stats {
    /// Requests whose head was read whole.
    pub requests: Counter,
    /// Requests whose client left before the response.
    pub cancelled: Counter,
    /// Connections accepted.
    pub connections_accepted: Counter,
    /// Connections open now.
    pub connections_open: Counter,
    /// Connections over the limit.
    pub connections_refused: Counter,
    /// Connections closed by a time-out of ours.
    pub connections_timed_out: Counter,
    /// Accepts that failed.
    pub accept_failed: Counter,
    /// Bytes read from clients.
    pub bytes_in: Counter,
    /// Bytes written to clients.
    pub bytes_out: Counter,
    /// Fields of replies that may not go to a client: hop-by-hop, or not valid in HTTP.
    pub reply_fields_dropped: Counter,
    /// Replies in parts that broke off: the client saw a truncated response.
    pub replies_broken_off: Counter,
    /// Lines that the access log had no room for: its file takes them too slowly.
    pub access_log_dropped: Counter,
    /// Requests that were copied for a candidate.
    pub ghost_copies: Counter,
    /// Of them the compared ones.
    pub ghost_compared: Counter,
    /// Of them those that lack a reply.
    pub ghost_lost: Counter,
    /// Requests that were to be copied and were not.
    pub ghost_skipped: Counter,
    /// Differences that are not noise, of all workers; 0 on all but the first.
    pub ghost_differences: Cell<u64>,
    statuses: Statuses,
    rejected: [Counter; Reason::COUNT],
}

impl Stats {
    /// Counts a response.
    #[inline]
    pub fn count_status(&self, status: StatusCode) {
        self.statuses.count(status.as_u16());
    }

    /// Counts a request, or a connection, that was turned away.
    pub fn reject(&self, reason: Reason) {
        self.rejected[reason.index()].increment();
    }

    /// Adds the numbers to the worker's picture.
    pub fn add_to(&self, picture: &mut Picture) {
        picture.counters.extend([
            ("requests", self.requests.value()),
            ("cancelled", self.cancelled.value()),
            ("connections_accepted", self.connections_accepted.value()),
            ("connections_refused", self.connections_refused.value()),
            ("connections_timed_out", self.connections_timed_out.value()),
            ("accepts_failed", self.accept_failed.value()),
            ("received_bytes", self.bytes_in.value()),
            ("sent_bytes", self.bytes_out.value()),
            ("reply_fields_dropped", self.reply_fields_dropped.value()),
            ("replies_broken_off", self.replies_broken_off.value()),
            ("access_log_dropped", self.access_log_dropped.value()),
            ("ghost.copies", self.ghost_copies.value()),
            ("ghost.compared", self.ghost_compared.value()),
            ("ghost.lost", self.ghost_lost.value()),
            ("ghost.skipped", self.ghost_skipped.value()),
        ]);
        picture.gauges.push(("ghost.differences", self.ghost_differences.get()));
        picture.gauges.push(("connections_open", self.connections_open.value()));
        picture.statuses = self.statuses.list();
        let rejected =
            Reason::ALL.iter().map(|reason| (reason.name(), self.rejected[reason.index()].value()));
        picture.rejected = rejected.collect();
    }
}
