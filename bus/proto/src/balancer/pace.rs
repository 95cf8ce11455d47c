//! The time that a busy instance takes per request: the time in which it had requests in flight,
//! divided by the number of requests that ended.
//!
//! By the utilization law (Denning and Buzen, "The Operational Analysis of Queueing Network
//! Models", 1978) this is the service time if the instance was busy during all of that time, and
//! more if it waited for something else. The estimate therefore errs towards slow.

use std::time::{Duration, Instant};

/// Requests after which older measurements have half their weight.
const REMEMBERED: u32 = 64;

/// One instance's pace.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    busy_ns: u64,
    ended: u32,
    /// The time up to which `busy_ns` is counted.
    counted: Instant,
}

impl Pace {
    pub(super) const fn new(now: Instant) -> Self {
        Self { busy_ns: 0, ended: 0, counted: now }
    }

    /// Call this when the number of requests in flight goes from 0 to 1.
    pub(super) fn begin(&mut self, now: Instant) {
        self.counted = now;
    }

    /// Call this when one of its requests has ended.
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

    /// The number of requests that the instance is expected to finish in `time`; 0 before the first
    /// one has ended.
    pub(super) fn requests_in(&self, time: Duration) -> u64 {
        let time_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        time_ns.saturating_mul(self.ended.into()) / self.busy_ns.max(1)
    }
}
