//! How long an instance takes for a request when it has several: time in which it had any, by requests that ended.
//!
//! By the utilization law (Denning and Buzen, "The Operational Analysis of Queueing Network Models", 1978) this is its
//! service time if it was busy all the while, and more if it waited for anything else. So it errs to the slow side.

use std::time::{Duration, Instant};

/// Requests after which what was measured before counts half.
const REMEMBERED: u32 = 64;

/// One instance's pace.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    busy_ns: u64,
    ended: u32,
    /// Up to when `busy_ns` is counted.
    counted: Instant,
}

impl Pace {
    pub(super) const fn new(now: Instant) -> Self {
        Self { busy_ns: 0, ended: 0, counted: now }
    }

    /// It had no request in flight, and now it has one.
    pub(super) fn begin(&mut self, now: Instant) {
        self.counted = now;
    }

    /// One of its requests has ended.
    pub(super) fn ended_one(&mut self, now: Instant) {
        let busy = now.saturating_duration_since(self.counted).as_nanos();
        self.busy_ns = self.busy_ns.saturating_add(u64::try_from(busy).unwrap_or(u64::MAX));
        self.counted = now;
        self.ended += 1;
        if self.ended >= 2 * REMEMBERED {
            self.busy_ns /= 2;
            self.ended /= 2;
        }
    }

    /// How many requests it should get done in `time`; none before it got any done.
    pub(super) fn requests_in(&self, time: Duration) -> u64 {
        let time_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        time_ns.saturating_mul(self.ended.into()) / self.busy_ns.max(1)
    }
}
