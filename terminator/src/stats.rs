//! What one worker has counted, in plain cells, and the picture of it that leaves the worker's
//! thread.
//!
//! Owns: the counters and their sums over workers. Does not: latency per route (`route`), the bus's
//! counters (crate `bus`). Invariant: every response is counted once, where its request ends (or,
//! for those that answer no request, where they leave), so that the statuses clients saw sum to
//! `responses`.

use std::cell::Cell;
use std::time::Duration;

use http::StatusCode;

use crate::limits::TARGET;
use crate::rescue::Reason;

/// A count that one thread owns.
#[derive(Debug, Default)]
pub struct Counter(Cell<u64>);

impl Counter {
    /// One more.
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    /// `n` more.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.set(self.0.get().wrapping_add(n));
    }

    /// One less, for what is open now.
    #[inline]
    pub fn decrement(&self) {
        self.0.set(self.0.get().wrapping_sub(1));
    }

    /// The count.
    #[inline]
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.get()
    }
}

/// Statuses have three digits; those from 600 on do not exist in HTTP.
const STATUSES: usize = 600;

/// One worker's counters.
#[derive(Debug)]
pub struct Stats {
    /// Requests whose head was read whole.
    pub requests: Counter,
    /// Requests whose client left before the response.
    pub client_gone: Counter,
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
    /// Responses within 25 ms of the request's head.
    pub under_25ms: Counter,
    /// Fields of replies that may not go to a client: hop-by-hop, or not valid in HTTP.
    pub reply_fields_dropped: Counter,
    /// Replies in parts that broke off: the client saw a truncated response.
    pub replies_broken_off: Counter,
    /// Lines that the access log had no room for: its file takes them too slowly.
    pub access_log_dropped: Counter,
    statuses: Box<[Counter]>,
    rejected: [Counter; Reason::COUNT],
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            requests: Counter::default(),
            client_gone: Counter::default(),
            connections_accepted: Counter::default(),
            connections_open: Counter::default(),
            connections_refused: Counter::default(),
            connections_timed_out: Counter::default(),
            accept_failed: Counter::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            under_25ms: Counter::default(),
            reply_fields_dropped: Counter::default(),
            replies_broken_off: Counter::default(),
            access_log_dropped: Counter::default(),
            statuses: (0..STATUSES).map(|_| Counter::default()).collect(),
            rejected: std::array::from_fn(|_| Counter::default()),
        }
    }
}

impl Stats {
    /// Counts a response that answers a request `elapsed` after its head was read.
    #[inline]
    pub fn responded(&self, status: StatusCode, elapsed: Duration) {
        self.count_status(status);
        if elapsed < TARGET {
            self.under_25ms.increment();
        }
    }

    /// Counts a response that answers no request that was read whole.
    #[inline]
    pub fn count_status(&self, status: StatusCode) {
        if let Some(counter) = self.statuses.get(usize::from(status.as_u16())) {
            counter.increment();
        }
    }

    /// Counts a request, or a connection, that was turned away.
    pub fn reject(&self, reason: Reason) {
        self.rejected[reason.index()].increment();
    }

    /// The numbers now.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let statuses = self.statuses.iter().zip(0u16..).filter(|(counter, _)| counter.value() > 0);
        Totals {
            counters: vec![
                ("requests", self.requests.value()),
                ("responses", self.statuses.iter().map(Counter::value).sum()),
                ("under_25ms", self.under_25ms.value()),
                ("client_gone", self.client_gone.value()),
                ("connections_accepted", self.connections_accepted.value()),
                ("connections_refused", self.connections_refused.value()),
                ("connections_timed_out", self.connections_timed_out.value()),
                ("accept_failed", self.accept_failed.value()),
                ("bytes_in", self.bytes_in.value()),
                ("bytes_out", self.bytes_out.value()),
                ("reply_fields_dropped", self.reply_fields_dropped.value()),
                ("replies_broken_off", self.replies_broken_off.value()),
                ("access_log_dropped", self.access_log_dropped.value()),
            ],
            statuses: statuses.map(|(counter, status)| (status, counter.value())).collect(),
            rejected: Reason::ALL
                .map(|reason| (reason.name(), self.rejected[reason.index()].value()))
                .to_vec(),
            connections_open: self.connections_open.value(),
            ..Totals::default()
        }
    }
}

/// The numbers of one worker, or the sum of all.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Counts since start; the same names in the same order on every worker.
    pub counters: Vec<(&'static str, u64)>,
    /// Responses by status, those that occurred, ascending.
    pub statuses: Vec<(u16, u64)>,
    /// Requests and connections turned away, by reason.
    pub rejected: Vec<(&'static str, u64)>,
    /// Connections open now.
    pub connections_open: u64,
    /// Requests in flight now.
    pub in_flight: u64,
    /// Requests outstanding on the bus now.
    pub outstanding: u64,
    /// The bus's own counters.
    pub bus: Vec<(&'static str, u64)>,
}

impl Totals {
    /// Adds another worker's numbers.
    pub fn add(&mut self, other: &Self) {
        add_named(&mut self.counters, &other.counters);
        add_named(&mut self.statuses, &other.statuses);
        self.statuses.sort_unstable_by_key(|(status, _)| *status);
        add_named(&mut self.rejected, &other.rejected);
        add_named(&mut self.bus, &other.bus);
        self.connections_open += other.connections_open;
        self.in_flight += other.in_flight;
        self.outstanding += other.outstanding;
    }
}

fn add_named<N: PartialEq + Copy>(sums: &mut Vec<(N, u64)>, others: &[(N, u64)]) {
    for (at, (name, value)) in others.iter().enumerate() {
        // The same place nearly always; statuses may have gaps.
        let place = match sums.get(at) {
            Some((found, _)) if found == name => Some(at),
            _ => sums.iter().position(|(found, _)| found == name),
        };
        match place {
            Some(place) => sums[place].1 += value,
            None => sums.push((*name, *value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_the_sum_of_the_statuses() {
        let stats = Stats::default();
        stats.responded(StatusCode::OK, Duration::from_millis(24));
        stats.responded(StatusCode::OK, TARGET);
        stats.count_status(StatusCode::BAD_REQUEST);
        let totals = stats.totals();
        assert_eq!(totals.statuses, [(200, 2), (400, 1)]);
        assert!(totals.counters.contains(&("responses", 3)));
        assert!(totals.counters.contains(&("under_25ms", 1)));
    }

    #[test]
    fn sums_take_statuses_that_only_one_worker_saw() {
        let (one, two) = (Stats::default(), Stats::default());
        one.count_status(StatusCode::OK);
        two.count_status(StatusCode::NOT_FOUND);
        two.count_status(StatusCode::OK);
        two.count_status(StatusCode::CREATED);
        let mut sum = one.totals();
        sum.add(&two.totals());
        assert_eq!(sum.statuses, [(200, 2), (201, 1), (404, 1)]);
        assert_eq!(sum.counters.iter().find(|(name, _)| *name == "responses").unwrap().1, 4);
    }
}
