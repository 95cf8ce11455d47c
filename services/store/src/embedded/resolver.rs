//! Conflict detection: which keys were written recently, and at which version.
//!
//! Optimistic concurrency control by backward validation (Kung and Robinson, 1981), as
//! FoundationDB's resolver: a transaction conflicts when something that it read was written after
//! its read version.
//!
//! Keys are kept in `runs`, oldest first, one per group of commits, and neighbours are merged as
//! they age (the logarithmic method of Bentley and Saxe, 1980). Most transactions read a version
//! that is a few groups old, so one or two runs decide; an old transaction looks at some dozens.
//!
//! Pure: the time is an argument. Invariant: every write after `oldest` is remembered; older ones
//! may be forgotten, and transactions with an older read version are refused as too old.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound::{Excluded, Included},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{queue::ReadRange, recent::Recent, run::Run};
use crate::{error::RetryError, limits};

/// Longer than the age limit of transactions, because a commit waits in the queue after its age was
/// checked.
const MEMORY: Duration = limits::TRANSACTION_AGE_MAX.saturating_add(Duration::from_secs(1));

/// Number of neighbours of one tier that are merged into one run of the next.
const MERGED: usize = 8;

/// Most keys of a merged run. Bounds how long a merge occupies the committer: some milliseconds.
const MERGED_LEN_MAX: usize = 32_768;

/// The writes that open transactions may not have seen.
pub(crate) struct Resolver {
    /// Single keys written, the oldest writes first.
    runs: VecDeque<Aged>,
    /// Ranges written: each key maps to the version of the range up to the next key; 0 for none.
    ranges: BTreeMap<Bytes, u64>,
    /// `ranges` is cleaned when it gets longer than this.
    ranges_len_clean: usize,
    /// Ranges written since the last run was added.
    ranges_new: usize,
    /// Keys and ranges that `runs` remember.
    len: usize,
    len_max: usize,
    oldest: u64,
}

/// A run, and its age.
struct Aged {
    run: Arc<Run>,
    /// The version of its last group.
    newest: u64,
    /// The time of its last group.
    at: Instant,
    /// Number of merges behind it.
    tier: u32,
    /// Its keys, and the ranges written with them.
    len: usize,
}

impl Resolver {
    /// A resolver without writes, which refuses transactions with a read version below `version`.
    pub(crate) fn new(version: u64) -> Self {
        Self {
            runs: VecDeque::new(),
            ranges: BTreeMap::new(),
            ranges_len_clean: 1024,
            ranges_new: 0,
            len: 0,
            len_max: limits::CONFLICT_WRITES_MAX,
            oldest: version,
        }
    }

    /// Succeeds when a transaction that read `reads` at `version` may commit.
    pub(crate) fn check(&self, version: u64, reads: &[ReadRange]) -> Result<(), RetryError> {
        if version < self.oldest {
            return Err(RetryError::TooOld);
        }
        let missed = || self.runs.iter().rev().take_while(|aged| aged.newest > version);
        let changed = reads.iter().any(|read| match read {
            ReadRange::Key(key) => {
                missed().any(|aged| aged.run.wrote_key_after(version, key)) || self.range_at(key) > version
            }
            ReadRange::Range(begin, end) if begin < end => {
                missed().any(|aged| aged.run.wrote_range_after(version, begin, end))
                    || self.range_changed(version, begin, end)
            }
            ReadRange::Range(..) => false,
        });
        if changed { Err(RetryError::Conflict) } else { Ok(()) }
    }

    /// Records the keys that the group of `version` wrote.
    pub(crate) fn wrote(&mut self, version: u64, run: Arc<Run>, now: Instant) {
        let len = run.len() + std::mem::take(&mut self.ranges_new);
        self.len += len;
        self.runs.push_back(Aged { run, newest: version, at: now, tier: 0, len });
        while self.merge() {}
    }

    /// Records that `version` wrote all keys from `begin` to before `end`. Called before
    /// [`Resolver::wrote`] of its group.
    pub(crate) fn wrote_range(&mut self, version: u64, begin: &Bytes, end: &Bytes) {
        if begin >= end {
            return;
        }
        self.ranges_new += 1;
        let after = self.range_at(end);
        self.ranges.extract_if(begin.clone()..end.clone(), |_, _| true).for_each(drop);
        self.ranges.insert(begin.clone(), version);
        self.ranges.insert(end.clone(), after);
    }

    /// The remembered keys, for views.
    pub(crate) fn recent(&self) -> Recent {
        Recent::new(self.oldest, self.runs.iter().rev().map(|aged| (aged.newest, Arc::clone(&aged.run))))
    }

    /// Forgets writes that every transaction that may still commit has seen, and more when there
    /// are too many.
    pub(crate) fn forget(&mut self, now: Instant) {
        while let Some(oldest) = self.runs.front() {
            let expired = now.saturating_duration_since(oldest.at) > MEMORY;
            if !expired && self.len <= self.len_max {
                break;
            }
            self.oldest = self.oldest.max(oldest.newest);
            self.len -= oldest.len;
            self.runs.pop_front();
        }
        if self.ranges.len() > self.ranges_len_clean {
            self.forget_ranges();
        }
    }

    /// Merges the last runs, if they are of one tier and not too long. True when it merged.
    fn merge(&mut self) -> bool {
        let Some(first) = self.runs.len().checked_sub(MERGED) else { return false };
        let newest = &self.runs[self.runs.len() - 1];
        let (tier, version, at) = (newest.tier, newest.newest, newest.at);
        let last = || self.runs.range(first..);
        if last().any(|aged| aged.tier != tier) || last().map(|aged| aged.len).sum::<usize>() > MERGED_LEN_MAX
        {
            return false;
        }
        let merged: Vec<Aged> = self.runs.drain(first..).collect();
        let len = merged.iter().map(|aged| aged.len).sum();
        let run = Arc::new(Run::merge(merged.iter().map(|aged| &*aged.run)));
        self.runs.push_back(Aged { run, newest: version, at, tier: tier + 1, len });
        true
    }

    fn range_changed(&self, version: u64, begin: &Bytes, end: &Bytes) -> bool {
        if self.ranges.is_empty() {
            return false;
        }
        let mut ranges = self.ranges.range((Excluded(begin.clone()), Excluded(end.clone())));
        self.range_at(begin) > version || ranges.any(|(_, &written)| written > version)
    }

    /// Removes range ends that separate nothing. Costs as much as their insertion did.
    fn forget_ranges(&mut self) {
        let oldest = self.oldest;
        let mut before = 0;
        self.ranges.retain(|_, version| {
            if *version <= oldest {
                *version = 0;
            }
            std::mem::replace(&mut before, *version) != *version
        });
        self.ranges_len_clean = (2 * self.ranges.len()).max(1024);
    }

    fn range_at(&self, key: &Bytes) -> u64 {
        let before = self.ranges.range::<[u8], _>((Included(&b""[..]), Included(&key[..]))).next_back();
        before.map_or(0, |(_, &version)| version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    impl Resolver {
        fn wrote_key(&mut self, version: u64, key: &Bytes, now: Instant) {
            self.wrote(version, Arc::new(Run::new(version, [&key[..]].into_iter())), now);
        }

        fn wrote_only_range(&mut self, version: u64, begin: &Bytes, end: &Bytes, now: Instant) {
            self.wrote_range(version, begin, end);
            self.wrote(version, Arc::new(Run::new(version, std::iter::empty())), now);
        }
    }

    fn key(text: &str) -> ReadRange {
        ReadRange::Key(bytes(text))
    }

    fn range(begin: &str, end: &str) -> ReadRange {
        ReadRange::Range(bytes(begin), bytes(end))
    }

    #[test]
    fn a_read_conflicts_with_a_later_write_of_the_same_key_only() {
        let mut resolver = Resolver::new(0);
        resolver.wrote_key(5, &bytes("k"), Instant::now());
        assert_eq!(resolver.check(4, &[key("k")]), Err(RetryError::Conflict));
        assert_eq!(resolver.check(5, &[key("k")]), Ok(()));
        assert_eq!(resolver.check(4, &[key("j"), key("k\0"), range("a", "k"), range("k\0", "z")]), Ok(()));
        assert_eq!(resolver.check(4, &[range("a", "k\0")]), Err(RetryError::Conflict));
    }

    #[test]
    fn a_range_that_was_written_conflicts_with_what_it_meets() {
        let mut resolver = Resolver::new(0);
        let now = Instant::now();
        resolver.wrote_only_range(5, &bytes("d"), &bytes("h"), now);
        resolver.wrote_only_range(7, &bytes("f"), &bytes("g"), now);
        for (read, newest) in [
            (key("c"), 0),
            (key("d"), 5),
            (key("f"), 7),
            (key("g"), 5),
            (key("h"), 0),
            (range("a", "d"), 0),
            (range("a", "e"), 5),
            (range("a", "z"), 7),
            (range("g", "z"), 5),
            (range("h", "z"), 0),
            (range("z", "a"), 0),
        ] {
            assert_eq!(resolver.check(newest, std::slice::from_ref(&read)), Ok(()), "{read:?}");
            if newest > 0 {
                assert_eq!(resolver.check(newest - 1, &[read]), Err(RetryError::Conflict));
            }
        }
    }

    #[test]
    fn what_was_forgotten_is_refused_as_too_old() {
        let mut resolver = Resolver::new(0);
        let start = Instant::now();
        resolver.wrote_key(1, &bytes("a"), start);
        resolver.wrote_only_range(2, &bytes("c"), &bytes("d"), start);
        resolver.wrote_key(3, &bytes("b"), start + MEMORY);
        resolver.forget(start + MEMORY + Duration::from_millis(1));
        assert_eq!((resolver.runs.len(), resolver.len), (1, 1));
        assert_eq!(resolver.check(1, &[]), Err(RetryError::TooOld));
        assert_eq!(resolver.check(2, &[key("a"), key("c")]), Ok(()));
        assert_eq!(resolver.check(2, &[key("b")]), Err(RetryError::Conflict));
        resolver.forget_ranges();
        assert!(resolver.ranges.is_empty());
    }

    #[test]
    fn memory_is_bounded_by_forgetting_early() {
        let mut resolver = Resolver { len_max: 10, ..Resolver::new(0) };
        let now = Instant::now();
        for version in 1..=1000 {
            let name = format!("{version:04}");
            resolver.wrote_range(version, &bytes(&name), &bytes(&format!("{name}x")));
            resolver.wrote_key(version, &bytes(&name), now);
            resolver.forget(now);
        }
        assert!(
            resolver.len <= 10 && resolver.runs.len() <= 10,
            "{} in {}",
            resolver.len,
            resolver.runs.len()
        );
        assert!(resolver.ranges.len() <= 1025, "{}", resolver.ranges.len());
        assert_eq!(resolver.check(900, &[]), Err(RetryError::TooOld));
        assert_eq!(resolver.check(999, &[key("1000")]), Err(RetryError::Conflict));
    }

    #[test]
    fn runs_stay_few_however_many_groups_there_are() {
        let mut resolver = Resolver::new(0);
        let now = Instant::now();
        for version in 1..=10_000 {
            resolver.wrote_key(version, &bytes(&format!("{version:05}")), now);
        }
        assert!(resolver.runs.len() <= MERGED * 5, "{}", resolver.runs.len());
        assert_eq!(resolver.check(1, &[key("00001")]), Ok(()));
        assert_eq!(resolver.check(1, &[key("00002")]), Err(RetryError::Conflict));
        assert_eq!(resolver.check(5000, &[range("", "05001")]), Ok(()));
        assert_eq!(resolver.check(5000, &[range("", "05001\0")]), Err(RetryError::Conflict));
    }

    /// Compares with a model that stores the last version of each key.
    #[test]
    fn random_reads_conflict_exactly_when_the_model_says_so() {
        let seed = std::env::var("STORE_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| fastrand::u64(..));
        println!("STORE_SEED={seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut resolver = Resolver { ranges_len_clean: 4, ..Resolver::new(0) };
        let mut model = [0u64; 40];
        let name = |index: usize| bytes(&format!("{index:02}"));
        let start = Instant::now();
        for version in 1..5_000u64 {
            let now = start + Duration::from_millis(version * 100);
            let (a, b) = (rng.usize(..40), rng.usize(..40));
            match rng.u8(..4) {
                0 => {
                    resolver.wrote_key(version, &name(a), now);
                    model[a] = version;
                }
                1 if a < b => {
                    resolver.wrote_only_range(version, &name(a), &name(b), now);
                    model[a..b].fill(version);
                }
                _ => {
                    let mut keys: Vec<usize> = (0..40).filter(|_| rng.u8(..8) == 0).collect();
                    keys.sort_unstable();
                    let names: Vec<Bytes> = keys.iter().map(|&key| name(key)).collect();
                    let run = Run::new(version, names.iter().map(|name| &name[..]));
                    resolver.wrote(version, Arc::new(run), now);
                    keys.iter().for_each(|&key| model[key] = version);
                }
            }
            resolver.forget(now);
            let (a, b) = (rng.usize(..40), rng.usize(..40));
            let read_version = version.saturating_sub(rng.u64(..50)).max(resolver.oldest);
            let (read, newest) = if rng.bool() {
                (ReadRange::Key(name(a)), model[a])
            } else {
                let newest = model.get(a..b).and_then(|models| models.iter().max()).copied();
                (ReadRange::Range(name(a), name(b)), newest.unwrap_or(0))
            };
            let conflicts = resolver.check(read_version, std::slice::from_ref(&read)).is_err();
            assert_eq!(conflicts, newest > read_version, "{read:?} at {read_version}, written at {newest}");
        }
    }
}
