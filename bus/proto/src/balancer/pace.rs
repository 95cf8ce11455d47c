//! How long an instance takes for a request when it has several: time in which it had any, by requests that ended.
//!
//! By the utilization law (Denning and Buzen, "The Operational Analysis of Queueing Network Models", 1978) this is its
//! service time if it was busy all the while, and more if it waited for anything else. So it errs to the slow side.

use std::time::{Duration, Instant};

/// Requests after which what was measured before counts half.
const REMEMBERED: f64 = 64.0;

/// One instance's pace.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    busy_us: f64,
    ended: f64,
    /// Up to when `busy_us` is counted.
    counted: Instant,
}

impl Pace {
    pub(super) const fn new(now: Instant) -> Self {
        Self { busy_us: 0.0, ended: 0.0, counted: now }
    }

    /// It had no request in flight, and now it has one.
    pub(super) fn begin(&mut self, now: Instant) {
        self.counted = now;
    }

    /// One of its requests has ended.
    pub(super) fn ended_one(&mut self, now: Instant) {
        self.busy_us += now.saturating_duration_since(self.counted).as_secs_f64() * 1e6;
        self.counted = now;
        self.ended += 1.0;
        if self.ended >= 2.0 * REMEMBERED {
            self.busy_us /= 2.0;
            self.ended /= 2.0;
        }
    }

    /// How many requests it should get done in `time`; none before it got any done.
    pub(super) fn requests_in(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e6 * self.ended / self.busy_us.max(1.0)
    }
}
