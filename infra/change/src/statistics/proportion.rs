//! Confidence sequences for a proportion and for a quantile.
//!
//! Owns the one-sample tests and the intervals that follow from them. Leaves comparing two groups
//! to [`super::evidence`] and [`crate::rollout`]. Invariant: with a probability of at least
//! `1 - alpha`, a bound holds at every look at once.
//!
//! The bound of a quantile is the test of a proportion turned around, as in Howard and Ramdas,
//! "Sequential estimation of quantiles with applications to A/B testing and best-arm
//! identification", Bernoulli 28(3), 2022: the 99th percentile is above `x` exactly when more than
//! 1 % of latencies are. Only the test at the true quantile can be wrong, so all values `x` share
//! one `alpha`.

use statrs::distribution::{Binomial, DiscreteCDF as _};

use super::histogram::{Histogram, lower_us, upper_us};
use super::{bound, log_mean, log_wealth, real};

/// Odds ratios between the hypothesis and the alternatives. The smallest is close to 1 so that the
/// intervals of many samples become narrow.
const RATIOS: &[f64] = &[1.03, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0];

/// Halvings that find the bound of a rate: the error is below `2^-24`.
const HALVINGS: u32 = 24;

/// Logarithm of the evidence that a proportion is above `share`, after `hits` in `trials`.
pub fn log_above(hits: u64, trials: u64, share: f64) -> f64 {
    log_mean(RATIOS.iter().map(|ratio| log_wealth(*ratio, real(hits), real(trials), share)))
}

/// Logarithm of the evidence that a proportion is below `share`, after `hits` in `trials`.
pub fn log_below(hits: u64, trials: u64, share: f64) -> f64 {
    log_mean(RATIOS.iter().map(|ratio| log_wealth(ratio.recip(), real(hits), real(trials), share)))
}

/// Probability of at least `hits` in `trials` when each hits with probability `share`: a test of
/// fixed size, for one look.
pub fn tail(hits: u64, trials: u64, share: f64) -> f64 {
    let Some(fewer) = hits.checked_sub(1) else { return 1.0 };
    Binomial::new(share.clamp(0.0, 1.0), trials).map_or(1.0, |binomial| binomial.sf(fewer))
}

/// Bounds of a rate from 0 to 1, after `hits` in `trials`. Each is wrong with a probability of at
/// most `alpha` over all looks.
pub fn rate_bounds(hits: u64, trials: u64, alpha: f64) -> (f64, f64) {
    let proven = bound(alpha);
    let rate = if trials == 0 { 0.0 } else { real(hits) / real(trials) };
    // The evidence for "above" falls with the share, that for "below" grows with it.
    let lower = boundary(0.0, rate, |share| log_above(hits, trials, share) < proven);
    let upper = boundary(rate, 1.0, |share| log_below(hits, trials, share) >= proven);
    (lower, upper)
}

/// The least number between `low` and `high` from which on `holds` is true, or `high`.
fn boundary(mut low: f64, mut high: f64, holds: impl Fn(f64) -> bool) -> f64 {
    if holds(low) {
        return low;
    }
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if holds(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

/// A latency in microseconds that the quantile is proven to reach, 0 while none is.
pub fn quantile_at_least_us(latencies: &Histogram, quantile: f64, alpha: f64) -> u64 {
    let (slower, proven, total) = (1.0 - quantile, bound(alpha), latencies.total());
    let tails = latencies.tails();
    let unproven = tails.partition_point(|tail| log_above(*tail, total, slower) >= proven);
    unproven.checked_sub(1).map_or(0, lower_us)
}

/// A latency in microseconds that the quantile is proven not to exceed, `None` while none is.
pub fn quantile_at_most_us(latencies: &Histogram, quantile: f64, alpha: f64) -> Option<u64> {
    let (slower, proven, total) = (1.0 - quantile, bound(alpha), latencies.total());
    let tails = latencies.tails();
    let first = tails.partition_point(|tail| log_below(*tail, total, slower) < proven);
    // The last bucket has no upper end.
    (0 < first && first < tails.len()).then(|| upper_us(first - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_that_of_coins() {
        assert!((tail(10, 10, 0.5) - 0.5_f64.powi(10)).abs() < 1e-12);
        assert!((tail(13, 14, 0.5) - 15.0 * 0.5_f64.powi(14)).abs() < 1e-12);
        assert_eq!(tail(0, 0, 0.5), 1.0);
        assert_eq!(tail(5, 10, 1.0), 1.0);
        assert!(tail(10, 1_000, 0.0) < 1e-12);
    }

    #[test]
    fn bounds_enclose_the_rate_and_narrow_with_samples() {
        let mut width = 1.0;
        for trials in [100, 1_000, 10_000, 100_000] {
            let (low, high) = rate_bounds(trials / 50, trials, 0.05);
            assert!(low <= 0.02 && 0.02 <= high, "{low}..{high}");
            assert!(high - low < width, "{trials}: {low}..{high}");
            width = high - low;
        }
        assert!(width < 0.006, "{width}");
        assert_eq!(rate_bounds(0, 0, 0.05), (0.0, 1.0));
        assert_eq!(rate_bounds(0, 1_000, 0.05).0, 0.0);
        assert!(rate_bounds(1_000, 1_000, 0.05).0 > 0.9);
    }

    #[test]
    fn a_rate_of_zero_is_bounded_from_above() {
        let (_, high) = rate_bounds(0, 3_000, 0.05);
        assert!((0.000_5..0.005).contains(&high), "{high}");
    }

    #[test]
    fn quantile_bounds_hold_at_every_look() {
        let seed = std::env::var("SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
        println!("SEED={seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut wrong, runs, alpha) = (0, 200, 0.05);
        for _ in 0..runs {
            let mut latencies = Histogram::new();
            let mut failed = false;
            for look in 0..3_000 {
                // Uniform: the 99th percentile is 99 000 µs.
                latencies.record(rng.u64(0..100_000));
                if look % 10 == 0 {
                    let low = quantile_at_least_us(&latencies, 0.99, alpha);
                    let high = quantile_at_most_us(&latencies, 0.99, alpha);
                    failed |= low > 99_000 || high.is_some_and(|high| high < 99_000);
                }
            }
            wrong += i32::from(failed);
        }
        assert!(wrong <= 20, "{wrong} of {runs}");
    }

    #[test]
    fn quantile_bounds_get_close() {
        let mut latencies = Histogram::new();
        for latency in 0..200_000 {
            latencies.record(latency % 100_000);
        }
        let low = quantile_at_least_us(&latencies, 0.99, 0.05);
        let high = quantile_at_most_us(&latencies, 0.99, 0.05).unwrap();
        assert!(low > 90_000 && high < 110_000, "{low}..{high}");
    }

    #[test]
    fn few_samples_prove_nothing() {
        let mut latencies = Histogram::new();
        assert_eq!(quantile_at_least_us(&latencies, 0.99, 0.05), 0);
        assert_eq!(quantile_at_most_us(&latencies, 0.99, 0.05), None);
        latencies.record(1_000);
        assert_eq!(quantile_at_least_us(&latencies, 0.99, 0.05), 0);
        assert_eq!(quantile_at_most_us(&latencies, 0.99, 0.05), None);
    }
}
