//! Ids that contain the time when they were sent.
//!
//! Owns their text, `bench-RUN-NANOSECONDS-THREAD-NUMBER`. Invariant: ids are unique, and ids of
//! another run are ignored, because both times must be read from one clock.

use std::fmt::{self, Display};
use std::time::{Duration, Instant};

/// The clock of one run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamps {
    /// Independent of the seed, because a store knows the ids of an earlier run with the same seed.
    run: u64,
    base: Instant,
}

/// One id.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    run: u64,
    after_base: Duration,
    thread: usize,
    number: u64,
}

impl Stamps {
    pub(super) fn new() -> Self {
        Self { run: fastrand::u64(..), base: Instant::now() }
    }

    /// An id sent `now`; `number` is unique in its thread.
    pub(super) fn at(&self, now: Instant, (thread, number): (usize, u64)) -> Stamp {
        Stamp { run: self.run, after_base: now.saturating_duration_since(self.base), thread, number }
    }

    /// When the id was sent; `None` when it is not of this run.
    pub(super) fn sent(&self, id: &str) -> Option<Instant> {
        let mut parts = id.strip_prefix("bench-")?.split('-');
        let (run, nanoseconds) = (parts.next()?, parts.next()?);
        if u64::from_str_radix(run, 16).ok()? != self.run {
            return None;
        }
        self.base.checked_add(Duration::from_nanos(nanoseconds.parse().ok()?))
    }
}

impl Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { run, after_base, thread, number } = self;
        write!(f, "bench-{run:x}-{}-{thread}-{number}", after_base.as_nanos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_when_it_was_sent_to_its_own_run_only() {
        let stamps = Stamps::new();
        let sent = stamps.base + Duration::from_nanos(1_234_567_891);
        let id = stamps.at(sent, (1, 7)).to_string();
        assert_eq!(stamps.sent(&id), Some(sent));
        assert_ne!(id, stamps.at(sent, (2, 7)).to_string());
        let other = Stamps { run: stamps.run ^ 1, base: stamps.base };
        for foreign in [other.at(sent, (1, 7)).to_string(), String::new(), "bench-1".into(), "m1".into()] {
            assert_eq!(stamps.sent(&foreign), None, "{foreign}");
        }
    }
}
