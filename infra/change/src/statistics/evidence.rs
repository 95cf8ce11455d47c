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

/// Odds ratios for any difference that matters.
const ANY: &[f64] = &[1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0];

/// Odds ratios for a candidate that suddenly fails: fewer of them, so less wealth is spread thin.
const LARGE: &[f64] = &[3.0, 10.0, 100.0];

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

/// Which differences the test is sensitive to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Alternative {
    /// An error rate from a tenth above the control's.
    Any,
    /// An error rate from three times the control's.
    Large,
}

impl Alternative {
    fn ratios(self) -> &'static [f64] {
        match self {
            Self::Any => ANY,
            Self::Large => LARGE,
        }
    }
}

/// The one-sided sequential test of two error rates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Evidence {
    alternative: Alternative,
    /// Logarithm of the wealth for each ratio.
    logs: Vec<f64>,
    /// Requests of the block that is not closed yet: the candidate's and the control's.
    open: [Tally; 2],
}

impl Evidence {
    /// No evidence yet.
    pub fn new(alternative: Alternative) -> Self {
        Self { alternative, logs: vec![0.0; alternative.ratios().len()], open: Default::default() }
    }

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
        for (log, ratio) in self.logs.iter_mut().zip(self.alternative.ratios()) {
            *log += log_wealth(*ratio, hits, trials, share);
        }
    }

    /// Logarithm of the evidence: compare it with [`super::bound`].
    pub fn log(&self) -> f64 {
        log_mean(self.logs.iter().copied())
    }

    /// Forgets the closed blocks. A new part of `alpha` must be spent on what follows.
    pub fn restart(&mut self) {
        self.logs.fill(0.0);
    }
}

/// The persisted form: the number of ratios is checked when it is read.
#[derive(Serialize, Deserialize)]
struct Stored {
    alternative: Alternative,
    logs: Vec<f64>,
    open: [Tally; 2],
}

impl From<Evidence> for Stored {
    fn from(Evidence { alternative, logs, open }: Evidence) -> Self {
        Self { alternative, logs, open }
    }
}

impl TryFrom<Stored> for Evidence {
    type Error = String;

    fn try_from(Stored { alternative, logs, open }: Stored) -> Result<Self, String> {
        let expected = alternative.ratios().len();
        if logs.len() != expected || !logs.iter().all(|log| log.is_finite()) {
            return Err(format!("logs: {logs:?} are not {expected} finite numbers"));
        }
        Ok(Self { alternative, logs, open })
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
        let mut evidence = Evidence::new(Alternative::Any);
        for _ in 0..1_000 {
            evidence.add(tally(100, 30), tally(100, 30));
        }
        assert!(evidence.log() < 0.0, "{}", evidence.log());
    }

    #[test]
    fn errors_of_the_candidate_alone_are_evidence() {
        let mut evidence = Evidence::new(Alternative::Large);
        evidence.add(tally(300, 14), tally(300, 0));
        assert!(evidence.log() > bound(0.000_3), "{}", evidence.log());
        let mut opposite = Evidence::new(Alternative::Large);
        opposite.add(tally(300, 0), tally(300, 14));
        assert!(opposite.log() < 0.0, "{}", opposite.log());
    }

    #[test]
    fn groups_of_unequal_size_are_compared_by_rate() {
        let mut evidence = Evidence::new(Alternative::Any);
        for _ in 0..100 {
            evidence.add(tally(9_000, 90), tally(1_000, 10));
        }
        assert!(evidence.log() < 0.0, "{}", evidence.log());
    }

    #[test]
    fn single_requests_gather_in_a_block() {
        let mut evidence = Evidence::new(Alternative::Any);
        for _ in 0..40 {
            evidence.add(tally(1, 1), tally(0, 0));
            evidence.add(tally(0, 0), tally(1, 0));
        }
        assert!(evidence.log() > bound(0.000_1), "{}", evidence.log());
    }

    #[test]
    fn a_restart_keeps_the_open_block() {
        let mut evidence = Evidence::new(Alternative::Any);
        evidence.add(tally(9, 9), tally(9, 0));
        evidence.restart();
        assert_eq!(evidence.log(), 0.0);
        evidence.add(tally(1, 1), tally(1, 0));
        assert!(evidence.log() > 3.0, "{}", evidence.log());
    }

    #[test]
    fn stored_evidence_with_other_ratios_is_refused() {
        let stored = serde_json::to_string(&Evidence::new(Alternative::Large)).unwrap();
        assert!(serde_json::from_str::<Evidence>(&stored).is_ok());
        let wrong = stored.replace("0.0,0.0,0.0", "0.0");
        assert!(serde_json::from_str::<Evidence>(&wrong).unwrap_err().to_string().contains("3 finite"));
    }
}
