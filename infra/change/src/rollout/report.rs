//! A rollout as the admin path `/rollouts` and `stack rollout status` show it.
//!
//! Owns the shape of the answer. Leaves the numbers to [`super::state`]. Invariant: the answer is
//! derived from the state alone, so that every terminator gives the same one.

use std::collections::VecDeque;

use serde::Serialize;

use super::counts::GroupCounts;
use super::order::Obeyed;
use super::phase::Phase;
use super::state::{Entry, State};
use super::verdict::Verdict;
use crate::split::Percent;
use crate::statistics::proportion::{quantile_at_least_us, quantile_at_most_us, rate_bounds};

/// The intervals that are shown hold with a confidence of 95 % over all looks of an epoch.
const ALPHA: f64 = 0.05;

/// One element of the answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The service.
    pub service: String,
    /// Its version before the rollout.
    pub stable: String,
    /// The version that is rolled out.
    pub candidate: String,
    /// When it was started, as the document says.
    pub start_ms: Option<u64>,
    /// The latest order of an operator that was read.
    pub order: Option<Obeyed>,
    /// Where the rollout stands.
    pub state: Phase,
    /// Index of the stage.
    pub stage: usize,
    /// Share of requests that the candidate answers.
    pub percent: Percent,
    /// Share of requests that is copied to the candidate.
    pub ghost: Percent,
    /// Share of the last stage that passed.
    pub good_percent: Percent,
    /// The latest verdict.
    pub verdict: Verdict,
    /// Its reason.
    pub reason: String,
    /// When the phase or the stage last changed, in milliseconds since 1970.
    pub since_ms: u64,
    /// The candidate's requests in this epoch.
    pub candidate_counts: Shown,
    /// The control group's requests in this epoch.
    pub control_counts: Shown,
    /// Changes, oldest first.
    pub history: VecDeque<Entry>,
}

/// Counts of one group with their confidence intervals.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shown {
    /// Requests.
    pub requests: u64,
    /// Errors among them.
    pub errors: u64,
    /// Interval of the error rate in percent.
    pub errors_percent: [f64; 2],
    /// Estimate of the 99th percentile in milliseconds, `None` without requests.
    pub p99_ms: Option<f64>,
    /// Interval of the 99th percentile in milliseconds; an end that is not known is `None`.
    pub p99_interval_ms: [Option<f64>; 2],
}

impl From<&State> for Report {
    fn from(state: &State) -> Self {
        Self {
            service: state.service.clone(),
            stable: state.stable.clone(),
            candidate: state.candidate.clone(),
            start_ms: state.start_ms,
            order: state.order.clone(),
            state: state.phase,
            stage: state.stage,
            percent: state.percent,
            ghost: state.ghost,
            good_percent: state.good_percent,
            verdict: state.verdict,
            reason: state.reason.clone(),
            since_ms: state.since_ms,
            candidate_counts: (&state.observed.candidate).into(),
            control_counts: (&state.observed.control).into(),
            history: state.history.clone(),
        }
    }
}

impl From<&GroupCounts> for Shown {
    fn from(GroupCounts { tally, latencies }: &GroupCounts) -> Self {
        let (low, high) = rate_bounds(tally.errors, tally.requests, ALPHA / 2.0);
        let millis = |micros: u64| crate::statistics::real(micros) / 1_000.0;
        let least = Some(quantile_at_least_us(latencies, 0.99, ALPHA / 2.0)).filter(|micros| *micros > 0);
        let most = quantile_at_most_us(latencies, 0.99, ALPHA / 2.0);
        Self {
            requests: tally.requests,
            errors: tally.errors,
            errors_percent: [low * 100.0, high * 100.0],
            p99_ms: latencies.quantile_us(0.99).map(|micros| micros / 1_000.0),
            p99_interval_ms: [least.map(millis), most.map(millis)],
        }
    }
}
