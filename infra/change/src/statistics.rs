//! Tests that stay valid when their result is looked at every second.
//!
//! Owns the evidence that two error rates differ, confidence sequences for a rate and for a
//! quantile, and the latency histogram that they read. Leaves the decision to
//! [`crate::rollout`]. Invariant: with samples that obey the null hypothesis, the probability that
//! a test *ever* exceeds its bound is at most its `alpha`, however often it is looked at.
//!
//! # Why not Fisher's test or Mann-Whitney's
//!
//! A test of fixed size has the stated rate of false alarms at one look. A rollout looks every
//! second and stops at the first failure: repeated for long enough, such a test fails any two
//! equal versions (Johari et al., "Peeking at A/B Tests", KDD 2017).
//!
//! # One formula
//!
//! A request of a group *hits* (it failed, or it was slow) with a probability of at most `share`
//! under the null hypothesis. For a ratio `r > 1`, each observation multiplies a wealth of 1 by
//!
//! ```text
//! r^hit / (1 + share * (r - 1))
//! ```
//!
//! whose expectation is at most 1, so the wealth is a supermartingale. Its average over several
//! ratios is one too: this is a mixture sequential probability ratio test (Robbins, 1970) in which
//! `r` is the odds ratio of the alternative. By Ville's inequality the wealth ever reaches
//! `1 / alpha` with a probability of at most `alpha`. Ratios below 1 test the opposite direction.
//! [`evidence`] uses the formula for two rates, [`proportion`] for one rate and for a quantile.
//!
//! # What the tests assume
//!
//! Requests of one group are independent given the moment. Failures that both groups share cancel,
//! because the groups are concurrent. One identity that alone sends a large part of a small
//! group's requests breaks the assumption: it is in one group only, as the split is sticky.

pub mod evidence;
pub mod histogram;
pub mod proportion;

/// The part of `alpha` for the test with this ordinal, from 1: the parts of any number of tests
/// add up to at most `alpha`, because the sum of `1 / (n * (n + 1))` is 1.
pub fn spend(alpha: f64, ordinal: u32) -> f64 {
    let ordinal = f64::from(ordinal.max(1));
    alpha / (ordinal * (ordinal + 1.0))
}

/// Logarithm of the wealth that disproves a null hypothesis at `alpha`.
pub fn bound(alpha: f64) -> f64 {
    -alpha.ln()
}

/// Logarithm of the wealth after `hits` in `trials`, for one odds ratio of the alternative.
fn log_wealth(ratio: f64, hits: f64, trials: f64, share: f64) -> f64 {
    hits * ratio.ln() - trials * (share * (ratio - 1.0)).ln_1p()
}

/// Logarithm of the mean of `exp(log)`, without overflow.
fn log_mean(logs: impl Iterator<Item = f64> + Clone) -> f64 {
    let max = logs.clone().fold(f64::NEG_INFINITY, f64::max);
    let (sum, count) = logs.fold((0.0, 0.0), |(sum, count), log| (sum + (log - max).exp(), count + 1.0));
    max + f64::ln(sum / count)
}

/// A count as a number to calculate with: exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "no count of requests comes near 2^53")]
pub(crate) fn real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spent_parts_add_up_to_at_most_alpha() {
        let total: f64 = (1..10_000).map(|ordinal| spend(0.05, ordinal)).sum();
        assert!((0.0499..=0.05).contains(&total), "{total}");
    }

    #[test]
    fn a_mean_of_large_logarithms_does_not_overflow() {
        let mean = log_mean([5_000.0, 5_000.0 + f64::ln(3.0)].into_iter());
        assert!((mean - (5_000.0 + f64::ln(2.0))).abs() < 1e-9, "{mean}");
        assert!(log_mean([-9_000.0, -8_000.0].into_iter()).is_finite());
    }
}
