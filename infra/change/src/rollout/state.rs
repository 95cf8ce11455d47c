//! The state of a rollout: what is stored, so that another terminator can continue.
//!
//! Owns the fields and the bounded history. Leaves changing them to [`super::machine`]. Invariant:
//! `percent` is the share in force, also after a restart of every process.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::counts::Senders;
use super::document::{Document, Stage};
use super::epoch::Epoch;
use super::order::Obeyed;
use super::phase::Phase;
use super::verdict::Verdict;
use crate::split::Percent;

/// Entries of the history: the oldest is dropped.
const HISTORY_MAX: usize = 100;

/// A change of the phase, the share or the verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// The phase from then on.
    pub state: Phase,
    /// The share from then on.
    pub percent: Percent,
    /// The verdict at that time.
    pub verdict: Verdict,
    /// Its reason, or the operator's command.
    pub reason: String,
}

/// The whole state of a rollout. Store it together with a revision, and replace only the revision
/// that was read: two terminators that both believe to decide cannot overwrite each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The service.
    pub service: String,
    /// Its version before the rollout.
    pub stable: String,
    /// The version that is rolled out.
    pub candidate: String,
    /// [`Document::start_ms`] of the rollout.
    #[serde(default)]
    pub start_ms: Option<u64>,
    /// The latest order that was read.
    #[serde(default)]
    pub order: Option<Obeyed>,
    /// Where the rollout stands.
    pub phase: Phase,
    /// Index of the current stage.
    pub stage: usize,
    /// The stages when the state was written.
    pub stages: Vec<Stage>,
    /// Share of requests that the candidate answers.
    pub percent: Percent,
    /// Share of requests that is copied to the candidate.
    pub ghost: Percent,
    /// Share of the last stage that passed.
    pub good_percent: Percent,
    /// When the phase or the stage last changed, in milliseconds since 1970.
    pub since_ms: u64,
    /// The latest verdict.
    pub verdict: Verdict,
    /// Its reason, or the operator's command.
    pub reason: String,
    /// Observed time of the stage. The time without a deciding terminator is not part of it.
    pub(super) stage_ms: u64,
    /// Failed verdicts without another verdict between them.
    pub(super) failures: u32,
    /// True when an instance of the candidate was seen since the rollout started.
    pub(super) seen: bool,
    /// [`State::epoch`] of the rollout before at its end.
    #[serde(default)]
    pub(super) epochs_before: u32,
    /// What was observed in the stage.
    pub(super) observed: Epoch,
    /// Whose counts are part of it.
    pub(super) senders: Senders,
    /// The newest changes, oldest first.
    pub history: VecDeque<Entry>,
}

impl State {
    /// Ordinal of the current epoch among those of all rollouts of the service: terminators put it
    /// into their counts.
    pub fn epoch(&self) -> u32 {
        self.epochs_before.saturating_add(self.observed.number)
    }

    /// True when this is the state of the rollout that `document` describes. A document without a
    /// start describes any rollout of its versions.
    pub fn is_of(&self, document: &Document) -> bool {
        let versions = (&self.stable, &self.candidate) == (&document.stable, &document.candidate);
        versions && (document.start_ms.is_none() || document.start_ms == self.start_ms)
    }

    /// True when this state is further along than `other`, a state of the same rollout: it is in a
    /// later epoch, or it is the end of the same one.
    pub fn supersedes(&self, other: &Self) -> bool {
        let at = |state: &Self| (state.epoch(), !state.phase.is_live());
        at(self) > at(other)
    }

    /// Adds the state to the history when the phase, the share or the verdict changed.
    pub(super) fn note(&mut self, now_ms: u64) {
        let Self { phase: state, percent, verdict, .. } = *self;
        if self
            .history
            .back()
            .is_some_and(|last| (last.state, last.percent, last.verdict) == (state, percent, verdict))
        {
            return;
        }
        if self.history.len() >= HISTORY_MAX {
            self.history.pop_front();
        }
        let reason = self.reason.clone();
        self.history.push_back(Entry { at_ms: now_ms, state, percent, verdict, reason });
    }
}
