//! What a terminator counted: the message that the deciding terminator adds up.
//!
//! Owns the recorder, the message and the check for duplicates. Leaves storing it (one key for each
//! terminator) to the source of the plan. Invariant: a message is added at most once, also when it
//! arrives twice or its terminator restarts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::split::Group;
use crate::statistics::evidence::Tally;
use crate::statistics::histogram::Histogram;

/// Most terminators whose counts are added up. It bounds the stored state.
const TERMINATORS_MAX: usize = 256;

/// Longest name of a terminator.
const NAME_BYTES_MAX: usize = 256;

/// A terminator that was silent for this long says nothing about instances, and its place can be
/// taken by another.
const SILENT_MS: u64 = 10_000;

/// Requests of a group in a span of time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupCounts {
    /// Requests and errors.
    #[serde(flatten)]
    pub tally: Tally,
    /// Latencies of the requests, failed ones included.
    pub latencies: Histogram,
}

impl GroupCounts {
    /// Counts a request.
    pub fn record(&mut self, latency_us: u64, failed: bool) {
        self.tally.add(Tally { requests: 1, errors: u64::from(failed) });
        self.latencies.record(latency_us);
    }

    /// Adds the requests of other counts.
    pub fn merge(&mut self, other: &Self) {
        self.tally.add(other.tally);
        self.latencies.merge(&other.latencies);
    }
}

/// The counts of one terminator since its previous message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Name of the terminator, unique among those that run, at most 256 bytes.
    pub terminator: String,
    /// Grows with each start of the terminator: its start in milliseconds since 1970.
    pub incarnation: u64,
    /// Grows by one with each message of the incarnation, from 1.
    pub sequence: u64,
    /// [`super::State::epoch`] in which the requests were sent to their version.
    pub epoch: u32,
    /// Instances of the candidate that the terminator has a connection to.
    pub instances: u32,
    /// Requests that went to the candidate; in a ghost stage, the copies.
    pub candidate: GroupCounts,
    /// Requests of the control group; in a ghost stage, the copied requests as stable answered.
    pub control: GroupCounts,
}

impl Counts {
    /// True when no group has more errors than requests, or latencies for requests it lacks, and
    /// the name can be stored.
    pub(super) fn is_consistent(&self) -> bool {
        self.terminator.len() <= NAME_BYTES_MAX
            && [&self.candidate, &self.control].iter().all(|group| {
                group.tally.errors <= group.tally.requests && group.latencies.total() <= group.tally.requests
            })
    }
}

/// Counts requests between two messages. Every worker can have one: [`Self::absorb`] joins them.
#[derive(Clone, Debug)]
pub struct Recorder {
    terminator: String,
    incarnation: u64,
    sequence: u64,
    candidate: GroupCounts,
    control: GroupCounts,
}

impl Recorder {
    /// A recorder without requests. The fields are those of [`Counts`].
    pub fn new(terminator: impl Into<String>, incarnation: u64) -> Self {
        let (candidate, control) = Default::default();
        Self { terminator: terminator.into(), incarnation, sequence: 0, candidate, control }
    }

    /// Counts a request when its reply is complete or given up. A request of the group
    /// [`Group::Stable`] is not compared and not counted.
    pub fn record(&mut self, group: Group, latency_us: u64, failed: bool) {
        match group {
            Group::Candidate => self.candidate.record(latency_us, failed),
            Group::Control => self.control.record(latency_us, failed),
            Group::Stable => {}
        }
    }

    /// Moves the requests of `other` here.
    pub fn absorb(&mut self, other: &mut Self) {
        self.candidate.merge(&std::mem::take(&mut other.candidate));
        self.control.merge(&std::mem::take(&mut other.control));
    }

    /// Forgets what was counted since the previous message: the epoch has ended.
    pub fn discard(&mut self) {
        (self.candidate, self.control) = Default::default();
    }

    /// The message with what was counted since the previous one. Call it before requests are sent
    /// in a new epoch, and at least once a second: an empty message tells the number of instances.
    pub fn take(&mut self, epoch: u32, instances: u32) -> Counts {
        self.sequence += 1;
        Counts {
            terminator: self.terminator.clone(),
            incarnation: self.incarnation,
            sequence: self.sequence,
            epoch,
            instances,
            candidate: std::mem::take(&mut self.candidate),
            control: std::mem::take(&mut self.control),
        }
    }
}

/// The newest message of each terminator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Senders(BTreeMap<String, Newest>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Newest {
    incarnation: u64,
    sequence: u64,
    instances: u32,
    heard_ms: u64,
}

/// Why a message is not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotNew {
    /// It, or a later one, was added before.
    Duplicate,
    /// Counts of too many other terminators are being added up.
    TooManySenders,
}

impl Senders {
    /// Notes a message. An `Err` means that it must not be added.
    pub(super) fn note(&mut self, now_ms: u64, counts: &Counts) -> Result<(), NotNew> {
        let order = |incarnation, sequence| (incarnation, sequence);
        if let Some(newest) = self.0.get(&counts.terminator) {
            let known = order(newest.incarnation, newest.sequence);
            if order(counts.incarnation, counts.sequence) <= known {
                return Err(NotNew::Duplicate);
            }
        } else if self.0.len() >= TERMINATORS_MAX {
            self.0.retain(|_, newest| newest.is_fresh(now_ms));
            if self.0.len() >= TERMINATORS_MAX {
                return Err(NotNew::TooManySenders);
            }
        }
        let Counts { incarnation, sequence, instances, .. } = *counts;
        let newest = Newest { incarnation, sequence, instances, heard_ms: now_ms };
        self.0.insert(counts.terminator.clone(), newest);
        Ok(())
    }

    /// Most instances of the candidate that one terminator sees, `None` while all are silent.
    pub(super) fn instances(&self, now_ms: u64) -> Option<u32> {
        self.0.values().filter(|newest| newest.is_fresh(now_ms)).map(|newest| newest.instances).max()
    }
}

impl Newest {
    fn is_fresh(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.heard_ms) < SILENT_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_a_second_is_small() {
        let mut recorder = Recorder::new("terminator-1", 1_700_000_000_000);
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..3_000 {
            // Latencies over two decades.
            let latency_us = rng.u64(1_000..2_000) << rng.u32(0..7);
            recorder.record(Group::Candidate, latency_us, rng.u8(0..100) == 0);
            recorder.record(Group::Control, latency_us, rng.u8(0..100) == 0);
        }
        let message = serde_json::to_string(&recorder.take(3, 2)).unwrap();
        assert!(message.len() < 4_096, "{} bytes", message.len());
        let read: Counts = serde_json::from_str(&message).unwrap();
        assert_eq!((read.candidate.tally.requests, read.candidate.latencies.total()), (3_000, 3_000));
    }

    #[test]
    fn duplicates_and_older_incarnations_are_refused() {
        let mut senders = Senders::default();
        let mut recorder = Recorder::new("a", 5);
        let (first, second) = (recorder.take(1, 0), recorder.take(1, 0));
        assert_eq!(senders.note(0, &second), Ok(()));
        assert_eq!(senders.note(0, &second), Err(NotNew::Duplicate));
        assert_eq!(senders.note(0, &first), Err(NotNew::Duplicate));
        assert_eq!(senders.note(0, &Recorder::new("a", 4).take(1, 0)), Err(NotNew::Duplicate));
        assert_eq!(senders.note(0, &Recorder::new("a", 6).take(1, 0)), Ok(()));
    }

    #[test]
    fn silent_terminators_make_room() {
        let mut senders = Senders::default();
        for number in 0..TERMINATORS_MAX {
            senders.note(0, &Recorder::new(format!("t{number}"), 1).take(1, 0)).unwrap();
        }
        let message = Recorder::new("late", 1).take(1, 4);
        assert_eq!(senders.note(SILENT_MS - 1, &message), Err(NotNew::TooManySenders));
        assert_eq!(senders.note(SILENT_MS, &message), Ok(()));
        assert_eq!(senders.instances(SILENT_MS), Some(4));
        assert_eq!(senders.instances(3 * SILENT_MS), None);
    }

    #[test]
    fn workers_are_joined_without_counting_twice() {
        let (mut all, mut worker) = (Recorder::new("a", 1), Recorder::new("a", 1));
        worker.record(Group::Candidate, 10, true);
        worker.record(Group::Stable, 10, true);
        all.absorb(&mut worker);
        all.absorb(&mut worker);
        assert_eq!(all.take(1, 1).candidate.tally, Tally { requests: 1, errors: 1 });
        assert_eq!(all.take(1, 1).candidate.tally, Tally::default());
    }
}
