//! The counts of a run: latencies, statuses, errors by kind, bytes, and all of these over time.
//!
//! Owns counting. Invariant: every due request is counted once: as a response, or as an error of
//! one kind.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::plan::Plan;

/// An hour; longer latencies count as an hour.
const HIGHEST_US: u64 = 3_600_000_000;
const STATUSES: usize = 1000;

/// Why a request has no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// No connection could be opened.
    Connect,
    /// The request could not be written.
    Write,
    /// Reading failed.
    Read,
    /// The server closed before or within the response.
    Closed,
    /// The answer is not an HTTP response.
    Malformed,
    /// Not answered in time.
    Timeout,
}

/// Requests without a response, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errors {
    /// No connection could be opened.
    pub connect: u64,
    /// The request could not be written.
    pub write: u64,
    /// Reading failed.
    pub read: u64,
    /// The server closed before or within the response.
    pub closed: u64,
    /// The answer is not an HTTP response.
    pub malformed: u64,
    /// Not answered in time; the latencies include the time waited.
    pub timeout: u64,
    /// Due at the fixed rate, but no connection was free until the end.
    pub unsent: u64,
}

impl Errors {
    /// The sum of all kinds.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.connect + self.write + self.read + self.closed + self.malformed + self.timeout + self.unsent
    }

    const fn of(&mut self, failure: Failure) -> &mut u64 {
        match failure {
            Failure::Connect => &mut self.connect,
            Failure::Write => &mut self.write,
            Failure::Read => &mut self.read,
            Failure::Closed => &mut self.closed,
            Failure::Malformed => &mut self.malformed,
            Failure::Timeout => &mut self.timeout,
        }
    }

    fn add(&mut self, other: &Self) {
        self.connect += other.connect;
        self.write += other.write;
        self.read += other.read;
        self.closed += other.closed;
        self.malformed += other.malformed;
        self.timeout += other.timeout;
        self.unsent += other.unsent;
    }
}

/// The counts of one thread, or of all.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Microseconds from a request's due time to the end of its response.
    pub(super) latency: Histogram<u64>,
    pub(super) slices: Vec<Histogram<u64>>,
    pub(super) statuses: Vec<u64>,
    pub(super) errors: Errors,
    pub(super) responses: u64,
    pub(super) bytes_read: u64,
    pub(super) bytes_written: u64,
    /// From the end of the warm-up to the last response.
    pub(super) elapsed: Duration,
    /// Counts by kind of request, when there are several.
    pub(super) kinds: Vec<KindTally>,
    slice: Duration,
    from: Instant,
    /// When the last counted response arrived.
    last: Option<Instant>,
}

/// The counts of one kind of request.
#[derive(Debug)]
pub(super) struct KindTally {
    pub(super) latency: Histogram<u64>,
    pub(super) responses: u64,
    /// Responses with a status other than 2xx.
    pub(super) refused: u64,
    /// Requests without a response.
    pub(super) failures: u64,
}

impl KindTally {
    fn new() -> Self {
        Self { latency: histogram(), responses: 0, refused: 0, failures: 0 }
    }
}

impl Tally {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            latency: histogram(),
            slices: Vec::new(),
            statuses: vec![0; STATUSES],
            errors: Errors::default(),
            responses: 0,
            bytes_read: 0,
            bytes_written: 0,
            elapsed: Duration::ZERO,
            kinds: plan.mix().into_iter().flat_map(|mix| mix.kinds()).map(|_| KindTally::new()).collect(),
            slice: plan.slice,
            from: Instant::now(),
            last: None,
        }
    }

    /// Requests due before `from` belong to the warm-up, and are not counted.
    pub(super) const fn count_from(&mut self, from: Instant) {
        self.from = from;
    }

    pub(super) fn response(
        &mut self,
        due: Instant,
        now: Instant,
        kind: Option<usize>,
        status: u16,
        read: usize,
        written: usize,
    ) {
        if due < self.from {
            return;
        }
        self.responses += 1;
        self.last = Some(now);
        if let Some(count) = self.statuses.get_mut(usize::from(status)) {
            *count += 1;
        }
        self.bytes_read += read as u64;
        self.bytes_written += written as u64;
        if let Some(kind) = self.kind(kind) {
            kind.responses += 1;
            kind.refused += u64::from(!(200..300).contains(&status));
        }
        self.record(due, now, kind);
    }

    pub(super) fn failure(&mut self, due: Instant, now: Instant, kind: Option<usize>, failure: Failure) {
        if due < self.from {
            return;
        }
        *self.errors.of(failure) += 1;
        if let Some(kind) = self.kind(kind) {
            kind.failures += 1;
        }
        // The time of a failed connection says nothing about latency.
        if failure != Failure::Connect {
            self.record(due, now, kind);
        }
    }

    /// `end` is when the run was to end, or ended; later responses extend the measured time.
    pub(super) fn end(&mut self, end: Instant, unsent: u64) {
        self.elapsed = self.last.map_or(end, |last| last.max(end)).saturating_duration_since(self.from);
        self.errors.unsent += unsent;
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.latency += &other.latency;
        for (index, slice) in other.slices.iter().enumerate() {
            *self.slice_at(index) += slice;
        }
        for (mine, others) in self.statuses.iter_mut().zip(&other.statuses) {
            *mine += others;
        }
        self.errors.add(&other.errors);
        self.responses += other.responses;
        self.bytes_read += other.bytes_read;
        self.bytes_written += other.bytes_written;
        self.elapsed = self.elapsed.max(other.elapsed);
        for (mine, others) in self.kinds.iter_mut().zip(&other.kinds) {
            mine.latency += &others.latency;
            mine.responses += others.responses;
            mine.refused += others.refused;
            mine.failures += others.failures;
        }
    }

    fn kind(&mut self, kind: Option<usize>) -> Option<&mut KindTally> {
        self.kinds.get_mut(kind?)
    }

    fn record(&mut self, due: Instant, now: Instant, kind: Option<usize>) {
        let us = micros(now.saturating_duration_since(due));
        self.latency.saturating_record(us);
        if let Some(kind) = self.kind(kind) {
            kind.latency.saturating_record(us);
        }
        let index = (due - self.from).as_nanos() / self.slice.as_nanos();
        self.slice_at(usize::try_from(index).unwrap_or(usize::MAX)).saturating_record(us);
    }

    fn slice_at(&mut self, index: usize) -> &mut Histogram<u64> {
        while self.slices.len() <= index {
            let slice = Histogram::new_with_bounds(1, HIGHEST_US, 2).expect("constant bounds are valid");
            self.slices.push(slice);
        }
        &mut self.slices[index]
    }
}

/// A histogram of latencies in microseconds.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, HIGHEST_US, 3).expect("constant bounds are valid")
}

/// Whole microseconds, at least one.
pub(super) fn micros(latency: Duration) -> u64 {
    u64::try_from(latency.as_micros()).unwrap_or(HIGHEST_US).max(1)
}
