//! How long a dialler waits before it dials again. The arithmetic is the crate `backon`'s.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// The first wait. A peer that was restarted is back within some tens of milliseconds.
const FIRST: Duration = Duration::from_millis(20);
/// The longest wait: service is back at most a second, and its jitter, after a peer's return.
const LONGEST: Duration = Duration::from_millis(500);

/// Waits that double from 20 ms to 500 ms, each with up to as much again of jitter, so that a thousand peers of a
/// process that was restarted do not come back in step.
#[derive(Debug)]
pub struct Backoff {
    builder: ExponentialBuilder,
    waits: ExponentialBackoff,
}

impl Backoff {
    /// Deterministic for a `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let builder = ExponentialBuilder::default()
            .with_min_delay(FIRST)
            .with_max_delay(LONGEST)
            .with_factor(2.0)
            .with_jitter()
            .with_jitter_seed(seed)
            .without_max_times();
        Self { builder, waits: builder.build() }
    }

    /// The next wait.
    pub fn next_wait(&mut self) -> Duration {
        self.waits.next().unwrap_or(LONGEST)
    }

    /// The peer was reached: the next failure starts from the shortest wait.
    pub fn reset(&mut self) {
        self.waits = self.builder.build();
    }

    /// The peer is reachable but does not speak the protocol: no use to hurry.
    #[must_use]
    pub const fn longest() -> Duration {
        Duration::from_secs(5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_reset_starts_over() {
        let mut backoff = Backoff::new(7);
        let waits: Vec<Duration> = (0..12).map(|_| backoff.next_wait()).collect();
        assert!(waits[0] >= FIRST && waits[0] <= FIRST * 2, "{waits:?}");
        assert!(waits.iter().all(|wait| *wait <= LONGEST * 2), "{waits:?}");
        assert!(waits[11] >= LONGEST, "{waits:?}");
        backoff.reset();
        assert!(backoff.next_wait() <= FIRST * 2);
    }
}
