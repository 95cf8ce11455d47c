//! The state machine of a rollout.
//!
//! Owns the changes of phase, stage and share. Leaves time, counts and storage to its caller, and
//! the comparison to [`super::verdict`]. Invariants: the share grows only after a passed stage or
//! by an operator's command; a share of 0 is reachable from every phase.

use super::counts::{Counts, NotNew, Senders};
use super::document::{Document, OnFail};
use super::epoch::Epoch;
use super::order::{Command, Obeyed, Refused};
use super::phase::Phase;
use super::state::State;
use super::verdict::{Judgement, Verdict, judge, sudden};
use crate::split::Percent;
use crate::statistics::evidence::Tally;

/// A verdict is taken once in this time.
const LOOK_MS: u64 = 1_000;

/// Longest time that one look adds to a stage: the time without a deciding terminator does not
/// count as observed.
const OBSERVED_MS_MAX: u64 = 2_000;

/// Failed verdicts in a row that take the candidate back. The fast path does not wait for them.
const FAILURES_MAX: u32 = 3;

/// What became of a message with counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// Its counts are part of the epoch.
    Added,
    /// It was added before.
    Duplicate,
    /// Its requests belong to another epoch and are not added.
    OtherEpoch,
    /// Its numbers contradict each other.
    Inconsistent,
    /// Counts of too many terminators are being added up.
    TooManySenders,
    /// The rollout has ended.
    Ended,
}

/// A rollout of one service.
#[derive(Clone, Debug)]
pub struct Machine {
    document: Document,
    state: State,
    /// When the latest verdict was taken, `None` before the first one of this process.
    looked_ms: Option<u64>,
}

impl Machine {
    /// Begins the first stage of a rollout.
    pub fn new(service: impl Into<String>, document: Document, now_ms: u64) -> Self {
        let first = document.stages[0];
        let mut state = State {
            service: service.into(),
            stable: document.stable.clone(),
            candidate: document.candidate.clone(),
            start_ms: document.start_ms,
            order: None,
            phase: Phase::Running,
            stage: 0,
            stages: document.stages.clone(),
            percent: first.share(),
            ghost: first.ghost(),
            good_percent: Percent::ZERO,
            since_ms: now_ms,
            verdict: Verdict::Wait,
            reason: "started".to_owned(),
            stage_ms: 0,
            failures: 0,
            seen: false,
            epochs_before: 0,
            observed: Epoch::new(1, Tally::default(), has_control(first.share())),
            senders: Senders::default(),
            history: Default::default(),
        };
        state.note(now_ms);
        Self { document, state, looked_ms: None }
    }

    /// Continues from a stored state. A document with other versions or another start begins anew.
    /// One with other stages continues with the last stage whose share is not above the share in
    /// force.
    pub fn restore(document: Document, state: State, now_ms: u64) -> Self {
        if !state.is_of(&document) {
            let mut machine = Self::new(state.service.as_str(), document, now_ms);
            // Counts of the rollout before, which may still arrive, are of none of the new epochs.
            machine.state.epochs_before = state.epoch();
            machine.state.senders = state.senders;
            return machine;
        }
        let mut machine = Self { document, state, looked_ms: None };
        let stages = &machine.document.stages;
        if machine.state.stages != *stages || machine.state.stage >= stages.len() {
            machine.adopt_stages(now_ms);
        }
        machine
    }

    /// The state to store and to show.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The document in force.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// Adds the counts of a terminator, at any time. The share is 0 on return when they show a
    /// sudden regression.
    pub fn count(&mut self, now_ms: u64, counts: &Counts) -> Accepted {
        if !self.state.phase.is_live() {
            return Accepted::Ended;
        }
        if !counts.is_consistent() {
            return Accepted::Inconsistent;
        }
        match self.state.senders.note(now_ms, counts) {
            Ok(()) => {}
            Err(NotNew::Duplicate) => return Accepted::Duplicate,
            Err(NotNew::TooManySenders) => return Accepted::TooManySenders,
        }
        self.state.seen |= counts.instances > 0;
        let is_current = counts.epoch == self.state.epoch();
        if is_current {
            self.state.observed.add(counts);
        }
        if !self.lost_candidate(now_ms)
            && is_current
            && let Some(reason) = sudden(&self.document, &self.state.observed)
        {
            self.fall(now_ms, reason, true);
        }
        if is_current { Accepted::Added } else { Accepted::OtherEpoch }
    }

    /// Takes a verdict when the previous one is a second old, and acts on it. `None` when it is too
    /// early, or when the candidate gets no requests.
    pub fn tick(&mut self, now_ms: u64) -> Option<Verdict> {
        let exposed = (self.state.percent, self.state.ghost) != (Percent::ZERO, Percent::ZERO);
        if !self.state.phase.is_live() || !exposed {
            return None;
        }
        let passed_ms = self.looked_ms.map_or(LOOK_MS, |looked| now_ms.saturating_sub(looked));
        if passed_ms < LOOK_MS {
            return None;
        }
        self.looked_ms = Some(now_ms);
        if self.lost_candidate(now_ms) {
            return Some(Verdict::Fail);
        }
        if !self.state.seen {
            let reason = format!("no instance of version {} is connected: start one", self.state.candidate);
            self.decide(now_ms, Judgement { verdict: Verdict::Wait, reason });
            return Some(Verdict::Wait);
        }
        let observed_ms = passed_ms.min(OBSERVED_MS_MAX);
        self.state.observed.pass(observed_ms);
        if self.state.phase != Phase::Paused {
            self.state.stage_ms = self.state.stage_ms.saturating_add(observed_ms);
        }
        let mut judgement = judge(&self.document, &self.state.observed);
        if judgement.verdict == Verdict::Wait {
            judgement.reason += &self.estimate();
        }
        let verdict = judgement.verdict;
        self.decide(now_ms, judgement);
        Some(verdict)
    }

    /// Obeys the document's order when it is a new one. Returns what became of it; `None` when
    /// there is no new order.
    pub fn obey(&mut self, now_ms: u64) -> Option<&Obeyed> {
        let order = self.document.order.clone()?;
        let is_known = |obeyed: &Obeyed| obeyed.order.at_ms == order.at_ms;
        if self.state.order.as_ref().is_some_and(is_known) {
            return None;
        }
        let refused = self.command(now_ms, order.command, &order.who).err();
        let refused = refused.map(|refused| refused.to_string());
        Some(self.state.order.insert(Obeyed { order, refused }))
    }

    /// Carries out a command of an operator, who is named in the history.
    ///
    /// # Errors
    ///
    /// The command does not fit the phase; the message names what does.
    pub fn command(&mut self, now_ms: u64, command: Command, operator: &str) -> Result<(), Refused> {
        command.check(&self.state.service, self.state.phase)?;
        let reason = format!("{operator}: {}", command.name());
        match command {
            Command::Pause => self.hold(now_ms, Phase::Paused, reason),
            Command::Resume => self.enter(now_ms, self.state.stage, reason),
            Command::Abort => self.end(now_ms, Phase::Aborted, Percent::ZERO, reason),
            Command::Promote => {
                self.state.good_percent = Percent::ALL;
                self.end(now_ms, Phase::Completed, Percent::ALL, reason);
            }
        }
        Ok(())
    }

    /// Notes a judgement and acts on it.
    fn decide(&mut self, now_ms: u64, Judgement { verdict, reason }: Judgement) {
        let paused = self.state.phase == Phase::Paused;
        let failures = if verdict == Verdict::Fail { self.state.failures.saturating_add(1) } else { 0 };
        self.state.failures = failures;
        if failures >= FAILURES_MAX {
            return self.fall(now_ms, reason, false);
        }
        if paused {
            // The reason of the pause stays.
            return;
        }
        (self.state.verdict, self.state.reason) = (verdict, reason);
        let is_over = self.state.stage_ms >= self.document.stage_seconds.saturating_mul(1_000);
        if is_over && verdict == Verdict::Pass {
            return self.advance(now_ms);
        }
        let phase = if is_over { Phase::Waiting } else { Phase::Running };
        if self.state.phase != phase {
            (self.state.phase, self.state.since_ms) = (phase, now_ms);
        }
        self.state.note(now_ms);
    }

    /// Enters the stage after a passed one, or completes the rollout.
    fn advance(&mut self, now_ms: u64) {
        let State { stage, percent, .. } = self.state;
        self.state.good_percent = percent;
        // A document with other stages can leave the share in force below that of its stage.
        let next = if percent < self.document.stages[stage].share() { stage } else { stage + 1 };
        let reason = self.state.reason.clone();
        if next < self.document.stages.len() {
            self.enter(now_ms, next, reason);
        } else {
            self.end(now_ms, Phase::Completed, percent, reason);
        }
    }

    /// Begins a stage, with a new epoch.
    fn enter(&mut self, now_ms: u64, stage: usize, reason: String) {
        let settings = self.document.stages[stage];
        self.state.stage = stage;
        self.state.percent = settings.share();
        self.state.ghost = settings.ghost();
        self.begin_epoch();
        self.hold(now_ms, Phase::Running, reason);
    }

    /// Forgets what was observed, except for control's error rate.
    fn begin_epoch(&mut self) {
        let before = &self.state.observed;
        let has_control = has_control(self.state.percent);
        self.state.observed = Epoch::new(before.number.saturating_add(1), before.baseline(), has_control);
        (self.state.stage_ms, self.state.failures) = (0, 0);
    }

    /// Changes the phase and keeps the share.
    fn hold(&mut self, now_ms: u64, phase: Phase, reason: String) {
        self.state.phase = phase;
        self.state.since_ms = now_ms;
        self.state.reason = reason;
        self.state.note(now_ms);
    }

    /// Ends the rollout with a share.
    fn end(&mut self, now_ms: u64, phase: Phase, percent: Percent, reason: String) {
        (self.state.percent, self.state.ghost) = (percent, Percent::ZERO);
        self.hold(now_ms, phase, reason);
    }

    /// Takes the candidate back, all the way on the fast path.
    fn fall(&mut self, now_ms: u64, reason: String, fast: bool) {
        self.state.verdict = Verdict::Fail;
        if self.document.on_fail == OnFail::Rollback {
            return self.end(now_ms, Phase::RolledBack, Percent::ZERO, reason);
        }
        let good = self.state.good_percent;
        self.state.percent = if fast || self.state.percent <= good { Percent::ZERO } else { good };
        self.state.ghost = Percent::ZERO;
        self.begin_epoch();
        self.hold(now_ms, Phase::Paused, reason);
    }

    /// True when the last instance of the candidate has left; the candidate is taken back then.
    fn lost_candidate(&mut self, now_ms: u64) -> bool {
        let lost = self.state.seen && self.state.senders.instances(now_ms) == Some(0);
        if lost {
            self.state.seen = false;
            let reason = format!("no instance of version {} is left", self.state.candidate);
            self.fall(now_ms, reason, true);
        }
        lost
    }

    /// Continues with the stages of a changed document, never at a larger share.
    fn adopt_stages(&mut self, now_ms: u64) {
        let percent = self.state.percent;
        let stages = &self.document.stages;
        let stage = stages.iter().rposition(|stage| stage.share() <= percent).unwrap_or(0);
        self.state.stages = stages.to_vec();
        self.state.stage = stage;
        if self.state.phase.is_live() {
            let settings = stages[stage];
            self.state.percent = percent.min(settings.share());
            self.state.ghost = settings.ghost();
            self.begin_epoch();
            self.hold(now_ms, self.state.phase, "the document has other stages".to_owned());
        }
    }

    /// How long the stage still waits for requests, as an addition to a reason.
    fn estimate(&self) -> String {
        let observed = &self.state.observed;
        let control = if observed.has_control { observed.control.tally.requests } else { u64::MAX };
        let requests = observed.candidate.tally.requests.min(control);
        let missing = self.document.min_requests.saturating_sub(requests);
        if missing == 0 || requests == 0 || self.state.stage_ms == 0 {
            return String::new();
        }
        let seconds = u128::from(missing) * u128::from(self.state.stage_ms) / u128::from(requests) / 1_000;
        let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
        match (hours, minutes) {
            (0, 0) => format!("; at this rate for another {seconds} s"),
            (0, _) => format!("; at this rate for another {minutes} min"),
            _ => format!("; at this rate for another {hours} h {minutes} min"),
        }
    }
}

/// True when stable keeps requests to compare the candidate's with.
fn has_control(candidate: Percent) -> bool {
    candidate < Percent::ALL
}
