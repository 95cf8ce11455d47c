//! The cache of the newest entries of frequently read feeds.
//!
//! Owns the cached data and their size. `heads` checks that a cached head is current.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use quick_cache::{Weighter, sync::Cache};
use service_host::ETag;
use store::Position;

use crate::counter::Changes;
use crate::interval::Interval;
use crate::mark::Mark;
use crate::merge::PageEntry;

/// Memory of an entry or a head beside its text.
const OVERHEAD_BYTES: u64 = 96;

/// Expected bytes of a head; sizes the cache's table.
const HEAD_BYTES_TYPICAL: u64 = 8 * 1024;

/// Heads of feeds, shared by all workers.
pub(crate) type Heads = Cache<String, Arc<Head>, Weight>;

/// An empty cache of at most `bytes`.
pub(crate) fn heads(bytes: u64) -> Heads {
    let items = usize::try_from(bytes / HEAD_BYTES_TYPICAL).unwrap_or(usize::MAX);
    Cache::with_weighter(items, bytes, Weight)
}

/// The newest entries of a feed at a version.
pub(crate) struct Head {
    pub(crate) sources: Sources,
    /// Most entries that it can have.
    pub(crate) wanted: usize,
    /// The newest entry first.
    pub(crate) entries: Vec<PageEntry>,
    /// The answers with the first `limit` that was asked for: most requests ask for the same one.
    answers: OnceLock<(usize, Answers)>,
}

/// What clients get of a head.
pub(crate) struct Answers {
    /// The page of entries.
    pub(crate) page: Tagged,
    /// The page, and what is unread.
    pub(crate) head: Tagged,
}

/// A body and its tag.
pub(crate) type Tagged = (Bytes, ETag);

impl Head {
    pub(crate) fn new(sources: Sources, wanted: usize, entries: Vec<PageEntry>) -> Self {
        Self { sources, wanted, entries, answers: OnceLock::new() }
    }

    /// One of the answers with at most `limit` entries, which `encode` writes when they are not
    /// known yet.
    pub(crate) fn answer(
        &self,
        limit: usize,
        which: fn(&Answers) -> &Tagged,
        encode: impl FnOnce() -> Answers,
    ) -> Tagged {
        match self.answers.get() {
            Some((known, answers)) if *known == limit => which(answers).clone(),
            _ => {
                let answers = encode();
                let answer = which(&answers).clone();
                // Another limit, or another worker, may have been first.
                let _ = self.answers.set((limit, answers));
                answer
            }
        }
    }
}

/// Where a feed's entries come from, and how many entries each source had received at one moment.
pub(crate) struct Sources {
    pub(crate) version: u64,
    pub(crate) changes: Changes,
    /// Own entries.
    pub(crate) posted: u64,
    /// How far the owner has read, which decides what of this is unread.
    pub(crate) mark: Mark,
    /// When `pulls` changed last.
    pub(crate) changed: Position,
    pub(crate) pulls: Arc<[Interval]>,
    /// Entries received from each of `pulls`, in the same order; for an interval that ended, up to
    /// its end.
    pub(crate) pulled: Vec<u64>,
}

#[derive(Clone)]
pub(crate) struct Weight;

impl Weighter<String, Arc<Head>> for Weight {
    fn weight(&self, owner: &String, head: &Arc<Head>) -> u64 {
        let texts: usize = head.entries.iter().map(|entry| entry.entry.len()).sum();
        let pulls: usize = head.sources.pulls.iter().map(|pull| pull.key.len() + pull.other.len()).sum();
        // The answers, which share one text, hold the entries' texts once more.
        let texts = 2 * texts;
        let parts = 2 + head.entries.len() + head.sources.pulls.len();
        (owner.len() + texts + pulls) as u64 + OVERHEAD_BYTES * parts as u64
    }
}

impl Sources {
    /// True when both have the same sources, whatever these received.
    pub(crate) fn are_those_of(&self, other: &Self) -> bool {
        let interval = |pull: &Interval| (pull.key.clone(), pull.until);
        Arc::ptr_eq(&self.pulls, &other.pulls)
            || self.pulls.iter().map(interval).eq(other.pulls.iter().map(interval))
    }

    /// True when both received the same number of entries.
    pub(crate) fn have_got(&self, other: &Self) -> bool {
        let received = |sources: &Self| (sources.changes.arrived, sources.posted);
        received(self) == received(other) && self.pulled == other.pulled
    }
}
