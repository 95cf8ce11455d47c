//! How long a dialler waits before it dials again. The crate `backon` computes the delays.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// The first delay. A restarted peer is usually back within some tens of milliseconds.
const FIRST: Duration = Duration::from_millis(20);
/// The longest delay before jitter. It bounds how long a service stays unconnected after its peer
/// is back.
const LONGEST: Duration = Duration::from_millis(500);

/// Delays that double from 20 ms to 500 ms. Each is lengthened by a random amount up to its own
/// length, so that the peers of a restarted process do not all dial at the same moment.
#[derive(Debug)]
pub struct Backoff {
    builder: ExponentialBuilder,
    waits: ExponentialBackoff,
}

impl Backoff {
    /// A new series of delays. The same `seed` gives the same series.
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

    /// The delay before the next attempt.
    pub fn next_wait(&mut self) -> Duration {
        self.waits.next().unwrap_or(LONGEST)
    }

    /// Starts again with the shortest delay. Call this when the peer was reached.
    pub fn reset(&mut self) {
        self.waits = self.builder.build();
    }

    /// The delay after a peer was reached that does not speak the protocol: repeating soon is
    /// useless.
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
