//! How long to wait before something that failed is tried again.
//!
//! Owns the formula; callers count the failures. Invariant: a pause is at least half of what the
//! failures ask for and never above `longest`.

use std::time::Duration;

/// Pauses that double with each failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The pause after the first failure.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
}

impl Backoff {
    /// The pause after `failures` failures: half of it is fixed and half is random, so that what
    /// failed together is not tried again together (Brooker, "Exponential Backoff And Jitter",
    /// 2015: "equal jitter").
    #[must_use]
    pub fn pause(&self, failures: u32, rng: &mut fastrand::Rng) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let whole = self.first.saturating_mul(1 << doublings).min(self.longest);
        whole.mul_f64(0.5 + rng.f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_are_spread() {
        let backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60) };
        let mut rng = fastrand::Rng::with_seed(1);
        for (failures, whole) in [(0, 1), (1, 1), (2, 2), (3, 4), (7, 60), (u32::MAX, 60)] {
            let pauses: Vec<_> = (0..1000).map(|_| backoff.pause(failures, &mut rng)).collect();
            let (least, most) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
            let whole = Duration::from_secs(whole);
            assert!(*least >= whole / 2 && *most <= whole, "{failures}: {least:?} to {most:?}");
            assert!(*most - *least > whole / 3, "{failures}: {least:?} to {most:?}");
        }
    }
}
