//! The verdict on a candidate, with its reason in words and numbers.
//!
//! Owns the comparison of an epoch's groups. Leaves what follows from a verdict to
//! [`super::machine`]. Invariant: an equal candidate fails a check, at any look of any epoch of a
//! rollout, with a probability of at most 1 minus the check's confidence.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::document::{Document, P99Check};
use super::epoch::Epoch;
use crate::statistics::evidence::Tally;
use crate::statistics::histogram::Histogram;
use crate::statistics::proportion::{
    log_above, quantile_at_least_us, quantile_at_most_us, rate_bounds, tail,
};
use crate::statistics::{bound, real, spend};

/// The fast path needs this many errors of the candidate.
const FAST_ERRORS_MIN: u64 = 10;

/// The fast path needs the candidate's error rate to be this many times control's.
const FAST_RATIO: f64 = 3.0;

/// Evidence of ten to one against the candidate keeps a stage from passing. Equal versions reach
/// it at times, and lose it again as requests come.
const DOUBT_ALPHA: f64 = 0.1;

/// The fast path needs the errors to fall on the candidate by chance at most this often. It is ten
/// errors of the candidate and none of control, or 12 and 1, or 15 and 2.
const FAST_CHANCE_MAX: f64 = 0.002;

/// A stage without a control group takes no earlier error rate to be below this one.
const PAST_RATE_MIN: f64 = 0.000_1;

/// What the observations say about the candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Enough requests, and nothing against the candidate.
    Pass,
    /// The candidate is worse, at the confidence of a check.
    Fail,
    /// Too few requests, or doubts without proof.
    Wait,
}

/// A verdict and its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// One sentence with the numbers.
    pub reason: String,
}

/// Judges the candidate by everything that the epoch observed.
pub(super) fn judge(document: &Document, epoch: &Epoch) -> Judgement {
    if let Some(reason) = sustained(document, epoch).or_else(|| slow(document, epoch)) {
        return Judgement { verdict: Verdict::Fail, reason };
    }
    let (candidate, control) = (epoch.candidate.tally, epoch.control.tally);
    let min = document.min_requests;
    let few = candidate.requests < min || (epoch.has_control && control.requests < min);
    let doubt = if few {
        let counted =
            format!("candidate {} of {min}, control {} of {min}", candidate.requests, control.requests);
        Some(format!("too few requests: {counted}"))
    } else if document.checks.errors.is_some() && epoch.evidence.log() >= bound(DOUBT_ALPHA) {
        Some(format!("not conclusive yet: {}", errors(epoch, candidate, control)))
    } else {
        seems_slow(document, epoch).map(|reason| format!("not conclusive yet: {reason}"))
    };
    match doubt {
        Some(reason) => Judgement { verdict: Verdict::Wait, reason },
        None => Judgement { verdict: Verdict::Pass, reason: summary(epoch) },
    }
}

/// The reason of the fast path to set the share to 0, whenever counts arrive.
///
/// Ten errors and three times the rate are not enough: see [`crate::rollout`]. The errors must also
/// be too many for the control's rate so far, at the confidence of the check and for all spans, and
/// unlikely to fall on the candidate by chance when the service fails as a whole at this moment.
pub(super) fn sudden(document: &Document, epoch: &Epoch) -> Option<String> {
    let alpha = errors_alpha(document, epoch)?;
    let [candidate, control] = epoch.recent();
    let control = if epoch.has_control { control } else { epoch.before };
    let many = candidate.errors >= FAST_ERRORS_MIN && candidate.rate() >= FAST_RATIO * control.rate();
    if !many || (epoch.has_control && by_chance(candidate, control) > FAST_CHANCE_MAX) {
        return None;
    }
    let limit = error_rate_limit(epoch, alpha);
    let proven = tail(candidate.errors, candidate.requests, limit) <= spend(alpha, epoch.span);
    proven.then(|| errors(epoch, candidate, control))
}

/// Probability that at least the candidate's errors fall on the candidate when both versions fail
/// at the same rate.
fn by_chance(candidate: Tally, control: Tally) -> f64 {
    let share = real(candidate.requests) / real(candidate.requests + control.requests);
    tail(candidate.errors, candidate.errors + control.errors, share)
}

/// The reason when the error rate over the whole epoch is proven to be higher.
fn sustained(document: &Document, epoch: &Epoch) -> Option<String> {
    let alpha = errors_alpha(document, epoch)?;
    let candidate = epoch.candidate.tally;
    let log = if epoch.has_control {
        epoch.evidence.log()
    } else if candidate.rate() <= FAST_RATIO * epoch.before.rate() {
        // No limit is below the rate that was observed.
        return None;
    } else {
        log_above(candidate.errors, candidate.requests, error_rate_limit(epoch, alpha))
    };
    (log >= bound(alpha)).then(|| errors(epoch, candidate, epoch.control.tally))
}

/// What the control group's error rate is proven not to exceed. Without a control group, the
/// candidate is compared with the past, and gets a margin for what changes with time.
fn error_rate_limit(epoch: &Epoch, alpha: f64) -> f64 {
    let baseline = epoch.baseline();
    let (_, limit) = rate_bounds(baseline.errors, baseline.requests, alpha);
    if epoch.has_control { limit } else { (limit.max(PAST_RATE_MIN) * FAST_RATIO).min(1.0) }
}

/// What each of the epoch's tests of errors may spend: the whole epoch, the last spans, and the
/// limit of control's rate. `None` when errors are not checked.
fn errors_alpha(document: &Document, epoch: &Epoch) -> Option<f64> {
    document.checks.errors.map(|check| spend(1.0 - check.confidence, epoch.number) / 3.0)
}

/// The reason when the candidate's 99th percentile is proven to be too high.
fn slow(document: &Document, epoch: &Epoch) -> Option<String> {
    let P99Check { ratio, confidence } = document.checks.p99?;
    // A bound is never nearer than the estimate, and the estimate costs less.
    seems_slow(document, epoch)?;
    let alpha = spend(1.0 - confidence, epoch.number) / 2.0;
    let least = quantile_at_least_us(&epoch.candidate.latencies, 0.99, alpha);
    let most = quantile_at_most_us(&epoch.control.latencies, 0.99, alpha)?;
    let (least, most) = (millis(least), millis(most));
    (least > ratio * most).then(|| {
        format!(
            "candidate's p99 is above {least:.1} ms, control's below {most:.1} ms, the limit is {ratio} times"
        )
    })
}

/// The reason when the candidate's 99th percentile is above the limit by its estimate.
fn seems_slow(document: &Document, epoch: &Epoch) -> Option<String> {
    let ratio = document.checks.p99?.ratio;
    let (candidate, control) = (p99_us(&epoch.candidate.latencies)?, p99_us(&epoch.control.latencies)?);
    (candidate > ratio * control).then(|| {
        let (candidate, control) = (candidate / 1_000.0, control / 1_000.0);
        format!("p99 of candidate {candidate:.1} ms, of control {control:.1} ms, the limit is {ratio} times")
    })
}

/// An estimate of the 99th percentile in microseconds.
fn p99_us(latencies: &Histogram) -> Option<f64> {
    latencies.quantile_us(0.99)
}

fn millis(micros: u64) -> f64 {
    real(micros) / 1_000.0
}

fn summary(epoch: &Epoch) -> String {
    let (candidate, control) = (&epoch.candidate, &epoch.control);
    let errors = errors(epoch, candidate.tally, control.tally);
    match (p99_us(&candidate.latencies), p99_us(&control.latencies)) {
        (Some(candidate), Some(control)) => {
            format!("{errors}; p99 {:.1} ms and {:.1} ms", candidate / 1_000.0, control / 1_000.0)
        }
        _ => errors,
    }
}

/// Both error rates in words; without a concurrent control group, that of the earlier ones.
fn errors(epoch: &Epoch, candidate: Tally, control: Tally) -> String {
    let (control, when) =
        if epoch.has_control { (control, "") } else { (epoch.before, " in earlier stages") };
    format!(
        "candidate {} errors of {}, control {} of {}{when}",
        Rate(candidate),
        candidate.requests,
        Rate(control),
        control.requests
    )
}

/// An error rate in percent, with as many digits as it needs to differ from 0.
struct Rate(Tally);

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = self.0.rate() * 100.0;
        let digits = if percent >= 0.1 || percent == 0.0 { 1 } else { 4 };
        write!(f, "{percent:.digits$} %")
    }
}
