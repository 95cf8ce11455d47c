//! Evidence that the candidate fails more often than its concurrent control group.
//!
//! Owns the two-sample test on error counts. Leaves the meaning of an error to the terminator.
//! Invariant: equal error rates, even ones that change from second to second, make the evidence
//! exceed [`super::bound`]`(alpha)` with a probability of at most `alpha` over all looks.
//!
//! Source: Lindon and Malek, "Anytime-Valid Inference for Multinomial Count Data", NeurIPS 2022.
//! Given the requests of both groups in a block and the sum of their errors, the errors of the
//! candidate are hypergeometric when the rates are equal, whatever the rate is. The wealth of
//! [`super`] with `share = candidate requests / all requests` is convex in that number, and a
//! binomial number dominates a hypergeometric one in convex order (Hoeffding, 1963), so its
//! expectation stays at most 1.

use serde::{Deserialize, Serialize};

use super::{log_mean, log_wealth, real};

/// A block is closed when each group has this many requests, so that a share of a block is never
/// that of one group alone. The rule looks at requests and not at errors, which keeps the test
/// valid.
const BLOCK_REQUESTS_MIN: u64 = 10;

/// Odds ratios of the alternatives: from a tenth more errors to thirty times as many.
const RATIOS: [f64; 8] = [1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0];

/// Requests of a group and how many of them failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Requests that were answered or given up.
    pub requests: u64,
    /// Requests among them that failed.
    pub errors: u64,
}

impl Tally {
    /// Adds the requests of another tally.
    pub fn add(&mut self, other: Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.errors = self.errors.saturating_add(other.errors);
    }

    /// Errors divided by requests, 0 without a request.
    pub fn rate(self) -> f64 {
        if self.requests == 0 { 0.0 } else { real(self.errors) / real(self.requests) }
    }
}

/// The one-sided sequential test of two error rates.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Logarithm of the wealth for each ratio.
    logs: [f64; RATIOS.len()],
    /// Requests of the block that is not closed yet: the candidate's and the control's.
    open: [Tally; 2],
}

impl Evidence {
    /// Adds requests that both groups finished in the same span of time.
    pub fn add(&mut self, candidate: Tally, control: Tally) {
        self.open[0].add(candidate);
        self.open[1].add(control);
        let [candidate, control] = self.open;
        if candidate.requests.min(control.requests) < BLOCK_REQUESTS_MIN {
            return;
        }
        self.open = Default::default();
        let share = real(candidate.requests) / real(candidate.requests.saturating_add(control.requests));
        let (hits, trials) = (real(candidate.errors), real(candidate.errors.saturating_add(control.errors)));
        for (log, ratio) in self.logs.iter_mut().zip(RATIOS) {
            *log += log_wealth(ratio, hits, trials, share);
        }
    }

    /// Logarithm of the evidence: compare it with [`super::bound`].
    pub fn log(&self) -> f64 {
        log_mean(self.logs.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::super::bound;
    use super::*;

    fn tally(requests: u64, errors: u64) -> Tally {
        Tally { requests, errors }
    }

    #[test]
    fn errors_of_both_groups_cancel() {
        let mut evidence = Evidence::default();
        for _ in 0..1_000 {
            evidence.add(tally(100, 30), tally(100, 30));
        }
        assert!(evidence.log() < 0.0, "{}", evidence.log());
    }

    #[test]
    fn errors_of_the_candidate_alone_are_evidence() {
        let mut evidence = Evidence::default();
        evidence.add(tally(300, 16), tally(300, 0));
        assert!(evidence.log() > bound(0.000_3), "{}", evidence.log());
        let mut opposite = Evidence::default();
        opposite.add(tally(300, 0), tally(300, 16));
        assert!(opposite.log() < 0.0, "{}", opposite.log());
    }

    #[test]
    fn groups_of_unequal_size_are_compared_by_rate() {
        let mut evidence = Evidence::default();
        for _ in 0..100 {
            evidence.add(tally(9_000, 90), tally(1_000, 10));
        }
        assert!(evidence.log() < 0.0, "{}", evidence.log());
    }

    #[test]
    fn single_requests_gather_in_a_block() {
        let mut evidence = Evidence::default();
        for _ in 0..40 {
            evidence.add(tally(1, 1), tally(0, 0));
            evidence.add(tally(0, 0), tally(1, 0));
        }
        assert!(evidence.log() > bound(0.000_1), "{}", evidence.log());
    }
}
