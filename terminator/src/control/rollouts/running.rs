//! One rollout of this terminator: its state machine, and what is known of the stored state.
//!
//! Owns the choice between the state of this process and that of the source. Leaves reading and
//! writing the source to [`super`], and verdicts to `change::rollout`. Invariant: an older
//! state from the source never replaces a newer one, and reading the source never raises a share
//! that fell.

use change::document::Revision;
use change::rollout::{Counts, Document, Machine, Recorder, State};
use change::source::Hold;

/// One rollout.
pub(super) struct Running {
    pub(super) machine: Machine,
    pub(super) recorder: Recorder,
    /// The counts that other terminators read; etcd only.
    pub(super) hold: Option<Hold>,
    /// When counts were last sent and the state was last stored.
    pub(super) shared_ms: u64,
    /// The state in the source that this one continues.
    pub(super) stored: (Revision, Option<State>),
    /// When storing the state failed; `None` after a success.
    pub(super) failed_ms: Option<u64>,
}

impl Running {
    /// Continues from the stored state, or begins without one.
    pub(super) fn new(
        service: &str,
        document: Document,
        stored: (Revision, Option<State>),
        recorder: Recorder,
        now: u64,
    ) -> Self {
        let machine = match &stored.1 {
            Some(state) => Machine::restore(document, state.clone(), now),
            None => Machine::new(service, document, now),
        };
        Self { machine, recorder, hold: None, shared_ms: 0, stored, failed_ms: None }
    }

    /// Takes another document of the same service.
    pub(super) fn follow(&mut self, document: Document, now: u64) {
        self.restore(document, self.machine.state().clone(), now);
    }

    /// Adds the counts of this terminator and of others.
    pub(super) fn count(&mut self, now: u64, candidates: u32, others: &[Counts]) {
        let own = self.recorder.take(self.machine.state().epoch(), candidates);
        self.machine.count(now, &own);
        for counts in others {
            self.machine.count(now, counts);
        }
    }

    /// Obeys the operator, and takes a verdict.
    pub(super) fn decide(&mut self, now: u64) {
        if let Some(obeyed) = self.machine.obey(now) {
            let (command, who) = (obeyed.order.command.name(), obeyed.order.who.clone());
            let refused = obeyed.refused.clone();
            let service = &self.machine.state().service;
            match refused {
                None => tracing::info!(service, command, who, "an order to the rollout is obeyed"),
                Some(refused) => tracing::warn!(service, command, who, "an order is refused: {refused}"),
            }
        }
        self.machine.tick(now);
    }

    /// Takes the state that the deciding terminator has stored.
    pub(super) fn obey(&mut self, now: u64, stored: (Revision, Option<State>)) {
        if let (revision, Some(state)) = stored
            && revision != self.stored.0
            && state.is_of(self.machine.document())
        {
            self.restore(self.machine.document().clone(), state.clone(), now);
            self.stored = (revision, Some(state));
        }
    }

    /// Continues after another writer has stored a state, or after a write of this terminator that
    /// it believed to have failed.
    pub(super) fn reconcile(&mut self, now: u64, stored: (Revision, Option<State>)) {
        match &stored.1 {
            Some(state) if state.supersedes(self.machine.state()) => self.obey(now, stored),
            // The next write replaces it.
            _ => self.stored = stored,
        }
    }

    fn restore(&mut self, document: Document, state: State, now: u64) {
        let epoch = self.machine.state().epoch();
        self.machine = Machine::restore(document, state, now);
        if self.machine.state().epoch() != epoch {
            // What was counted was sent in the epoch before.
            self.recorder.discard();
        }
    }
}
