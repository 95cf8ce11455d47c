//! How long to wait before Unleash is asked again, as its SDKs do.
//!
//! Owns the arithmetic alone: no clock, and random numbers from the caller. The rule is that of
//! npm's `unleash-client` 6.12 (`repository/polling-fetcher.js`): each refusal lengthens the wait
//! by one interval, up to ten; each answer shortens it by one. That client stops when its token is
//! wrong; this one asks again after the longest wait, since a console can make the token valid.
//! Invariant: never less than 0.9 intervals, never more than 12.1.

use std::time::Duration;

/// Most refusals that lengthen the wait.
const FAILURES_MAX: u32 = 10;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Polled {
    /// Everything, or nothing new.
    Answered,
    /// 404, 429, or a status of 500 and above.
    Refused,
    /// 401 or 403: the token is wrong.
    Forbidden,
    /// No connection, or no answer.
    Lost,
}

/// The waits of one process.
pub(super) struct Pace {
    interval: Duration,
    failures: u32,
}

impl Pace {
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, failures: 0 }
    }

    /// The wait after a request, with up to a tenth of it added or taken off: processes that were
    /// started together, or refused together, do not stay together.
    pub(super) fn after(&mut self, polled: Polled, random: &mut fastrand::Rng) -> Duration {
        self.failures = match polled {
            Polled::Answered => self.failures.saturating_sub(1),
            Polled::Refused => (self.failures + 1).min(FAILURES_MAX),
            Polled::Forbidden => FAILURES_MAX,
            // A server that restarts does not refuse.
            Polled::Lost => self.failures,
        };
        (self.interval * (1 + self.failures)).mul_f64(0.9 + 0.2 * random.f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_lengthen_the_wait_up_to_ten_intervals_and_answers_shorten_it() {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        let mut pace = Pace::new(Duration::from_secs(15));
        // The factor that was applied, without the jitter.
        let mut factor = |polled| {
            let wait = pace.after(polled, &mut random).as_secs_f64() / 15.0;
            let factor = wait.round();
            assert!((wait - factor).abs() <= factor * 0.1 + 1e-9, "seed {seed}: {wait}");
            factor
        };
        assert_eq!(factor(Polled::Answered), 1.0);
        let mut last = 1.0;
        for expected in [2.0, 3.0, 4.0] {
            last = factor(Polled::Refused);
            assert_eq!(last, expected, "seed {seed}");
        }
        assert_eq!(factor(Polled::Lost), last, "seed {seed}");
        assert_eq!(factor(Polled::Answered), 3.0, "seed {seed}");
    }

    #[test]
    fn a_wrong_token_is_asked_with_at_the_longest_wait() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut pace = Pace::new(Duration::from_secs(10));
        let longest = Duration::from_secs(99)..=Duration::from_secs(121);
        assert!(longest.contains(&pace.after(Polled::Forbidden, &mut random)));
        for _ in 0..100 {
            assert!(longest.contains(&pace.after(Polled::Refused, &mut random)));
        }
    }
}
