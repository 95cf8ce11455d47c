//! Delays before a dead role is started again.
//!
//! Owns the delays: exponential with equal jitter (Brooker, "Exponential Backoff And Jitter", AWS
//! Architecture Blog, 2015). Invariant: the first delay is at most [`FIRST`], so one crash costs a
//! tenth of a second; no delay is above [`LONGEST`].

use std::time::Duration;

/// The longest first delay.
pub const FIRST: Duration = Duration::from_millis(100);
/// The longest delay. An operator who repairs a role should not wait long for the next start.
pub const LONGEST: Duration = Duration::from_secs(5);
/// After a run of this duration the next delay begins at [`FIRST`] again.
pub const STEADY: Duration = Duration::from_secs(10);

/// Consecutive failures of one role.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The delay after a run of `ran`: one half is fixed, the other is drawn from `rng`.
    pub fn after(&mut self, ran: Duration, rng: &mut fastrand::Rng) -> Duration {
        if ran >= STEADY {
            self.failures = 0;
        }
        let full = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        full / 2 + full.mul_f64(rng.f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Backoff, FIRST, LONGEST, STEADY};

    #[test]
    fn delays_double_up_to_the_longest() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut backoff = Backoff::default();
        for failures in 0..100 {
            let delay = backoff.after(Duration::ZERO, &mut rng);
            let full = FIRST.saturating_mul(1 << failures.min(10)).min(LONGEST);
            assert!(delay >= full / 2 && delay <= full, "{failures}: {delay:?}");
        }
    }

    #[test]
    fn steady_run_starts_from_the_first_delay_again() {
        let mut rng = fastrand::Rng::with_seed(2);
        let mut backoff = Backoff::default();
        for _ in 0..10 {
            backoff.after(Duration::ZERO, &mut rng);
        }
        assert!(backoff.after(STEADY, &mut rng) <= FIRST);
    }

    #[test]
    fn delays_differ() {
        let mut rng = fastrand::Rng::with_seed(3);
        let delays: Vec<_> = (0..10).map(|_| Backoff::default().after(Duration::ZERO, &mut rng)).collect();
        assert!(delays.windows(2).any(|pair| pair[0] != pair[1]), "{delays:?}");
    }
}
