//! What was observed since the current stage began, and the tests over it.
//!
//! Owns the sums of all terminators and the evidence. Leaves the verdict to [`super::verdict`].
//! Invariant: the sums and the evidence cover the same requests, all of them sent to their version
//! in this epoch.

use serde::{Deserialize, Serialize};

use super::counts::{Counts, GroupCounts};
use crate::statistics::evidence::{Evidence, Tally};

/// The fast path looks at the last one to two spans of this length.
const SPAN_MS: u64 = 2_000;

/// Observations of one stage, or of one return to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Ordinal within the rollout, from 1.
    pub number: u32,
    /// Requests of the candidate.
    pub candidate: GroupCounts,
    /// Requests of the control group.
    pub control: GroupCounts,
    /// The control groups of all earlier epochs.
    pub before: Tally,
    /// True when stable keeps requests for a control group.
    pub has_control: bool,
    /// The test over the whole epoch.
    pub(super) evidence: Evidence,
    /// Ordinal of the current span, from 1.
    pub(super) span: u32,
    /// Requests of the candidate and of control, in the current span and in the one before.
    spans: [[Tally; 2]; 2],
    /// Age of the current span.
    span_ms: u64,
}

impl Epoch {
    /// An epoch without observations.
    pub(super) fn new(number: u32, before: Tally, has_control: bool) -> Self {
        Self {
            number,
            candidate: GroupCounts::default(),
            control: GroupCounts::default(),
            before,
            has_control,
            evidence: Evidence::default(),
            span: 1,
            spans: Default::default(),
            span_ms: 0,
        }
    }

    /// Adds what a terminator counted in this epoch.
    pub(super) fn add(&mut self, counts: &Counts) {
        let (candidate, control) = (counts.candidate.tally, counts.control.tally);
        self.candidate.merge(&counts.candidate);
        self.control.merge(&counts.control);
        self.evidence.add(candidate, control);
        self.spans[0][0].add(candidate);
        self.spans[0][1].add(control);
    }

    /// Lets `passed_ms` pass: a new span may begin.
    pub(super) fn pass(&mut self, passed_ms: u64) {
        self.span_ms += passed_ms;
        if self.span_ms >= SPAN_MS {
            self.span_ms = 0;
            self.spans = [Default::default(), self.spans[0]];
            self.span = self.span.saturating_add(1);
        }
    }

    /// The candidate's and the control's requests in the last two spans.
    pub(super) fn recent(&self) -> [Tally; 2] {
        let [mut recent, before] = self.spans;
        for (group, earlier) in recent.iter_mut().zip(before) {
            group.add(earlier);
        }
        recent
    }

    /// All requests of the control groups of the rollout.
    pub(super) fn baseline(&self) -> Tally {
        let mut baseline = self.before;
        baseline.add(self.control.tally);
        baseline
    }
}
