//! Who conflicts: what was written lately, and at which version.
//!
//! Optimistic concurrency control by backward validation (Kung and Robinson, 1981), as FoundationDB's resolver:
//! a transaction conflicts if something that it read was written after the version it read at.
//!
//! Pure: the time is an argument. Invariant: every write after `oldest` is remembered; what is older may be
//! forgotten, and transactions that read before it are refused as too old rather than let through.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound::{Excluded, Included},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::queue::ReadRange;
use crate::{error::RetryError, limits};

/// Longer than a transaction may live, since a commit waits in the queue after its age was checked.
const MEMORY: Duration = limits::TRANSACTION_AGE_MAX.saturating_add(Duration::from_secs(1));

/// The writes that transactions in progress may not have seen.
pub(crate) struct Resolver {
    /// Keys written one by one, with the version of the last write.
    keys: BTreeMap<Bytes, u64>,
    /// Ranges written: the version from this key up to the next in the map; 0 for none.
    ranges: BTreeMap<Bytes, u64>,
    /// `ranges` is cleaned when it gets longer than this.
    ranges_len_clean: usize,
    /// One entry a write, in the order of versions, for forgetting. `None` stands for a range.
    recent: VecDeque<(u64, Instant, Option<Bytes>)>,
    recent_len_max: usize,
    oldest: u64,
}

impl Resolver {
    /// Knows of no write; refuses transactions that read before `version`.
    pub(crate) fn new(version: u64) -> Self {
        Self {
            keys: BTreeMap::new(),
            ranges: BTreeMap::new(),
            ranges_len_clean: 1024,
            recent: VecDeque::new(),
            recent_len_max: limits::CONFLICT_WRITES_MAX,
            oldest: version,
        }
    }

    /// Whether a transaction that read `reads` at `version` may commit.
    pub(crate) fn check(&self, version: u64, reads: &[ReadRange]) -> Result<(), RetryError> {
        if version < self.oldest {
            return Err(RetryError::TooOld);
        }
        let changed = reads.iter().any(|read| match read {
            ReadRange::Key(key) => {
                self.keys.get(key).is_some_and(|&written| written > version) || self.range_at(key) > version
            }
            ReadRange::Range(begin, end) if begin < end => {
                let mut keys = self.keys.range(begin.clone()..end.clone());
                let mut ranges = self.ranges.range((Excluded(begin.clone()), Excluded(end.clone())));
                self.range_at(begin) > version
                    || ranges.any(|(_, &written)| written > version)
                    || keys.any(|(_, &written)| written > version)
            }
            ReadRange::Range(..) => false,
        });
        if changed { Err(RetryError::Conflict) } else { Ok(()) }
    }

    /// Remembers that `version` wrote `key`.
    pub(crate) fn wrote_key(&mut self, version: u64, key: &Bytes, now: Instant) {
        if self.keys.insert(key.clone(), version) != Some(version) {
            self.recent.push_back((version, now, Some(key.clone())));
        }
    }

    /// Remembers that `version` wrote all keys from `begin` to before `end`.
    pub(crate) fn wrote_range(&mut self, version: u64, begin: &Bytes, end: &Bytes, now: Instant) {
        if begin >= end {
            return;
        }
        self.recent.push_back((version, now, None));
        let after = self.range_at(end);
        self.ranges.extract_if(begin.clone()..end.clone(), |_, _| true).for_each(drop);
        self.ranges.insert(begin.clone(), version);
        self.ranges.insert(end.clone(), after);
    }

    /// Forgets what no transaction that may still commit can have missed, and more when there is too much.
    pub(crate) fn forget(&mut self, now: Instant) {
        while let Some((version, at, _)) = self.recent.front() {
            let expired = now.saturating_duration_since(*at) > MEMORY;
            if !expired && self.recent.len() <= self.recent_len_max {
                break;
            }
            self.oldest = self.oldest.max(*version);
            let (version, _, key) = self.recent.pop_front().expect("it was at the front");
            if let Some(key) = key
                && self.keys.get(&key) == Some(&version)
            {
                self.keys.remove(&key);
            }
        }
        if self.ranges.len() > self.ranges_len_clean {
            self.forget_ranges();
        }
    }

    /// Drops the ends that separate nothing any more. Costs as much as inserting what it looks at did.
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
        resolver.wrote_range(5, &bytes("d"), &bytes("h"), now);
        resolver.wrote_range(7, &bytes("f"), &bytes("g"), now);
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
        resolver.wrote_range(2, &bytes("c"), &bytes("d"), start);
        resolver.wrote_key(3, &bytes("b"), start + MEMORY);
        resolver.forget(start + MEMORY + Duration::from_millis(1));
        assert_eq!((resolver.keys.len(), resolver.recent.len()), (1, 1));
        assert_eq!(resolver.check(1, &[]), Err(RetryError::TooOld));
        assert_eq!(resolver.check(2, &[key("a"), key("c")]), Ok(()));
        assert_eq!(resolver.check(2, &[key("b")]), Err(RetryError::Conflict));
        resolver.forget_ranges();
        assert!(resolver.ranges.is_empty());
    }

    #[test]
    fn memory_is_bounded_by_forgetting_early() {
        let mut resolver = Resolver { recent_len_max: 10, ..Resolver::new(0) };
        let now = Instant::now();
        for version in 1..=1000 {
            let name = format!("{version:04}");
            resolver.wrote_key(version, &bytes(&name), now);
            resolver.wrote_range(version, &bytes(&name), &bytes(&format!("{name}x")), now);
            resolver.forget(now);
        }
        assert!(resolver.keys.len() <= 10 && resolver.ranges.len() <= 1025, "{}", resolver.ranges.len());
        assert_eq!(resolver.check(900, &[]), Err(RetryError::TooOld));
        assert_eq!(resolver.check(999, &[key("1000")]), Err(RetryError::Conflict));
    }

    /// Against a model that knows the last version of each of the keys, one by one.
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
            if rng.bool() {
                resolver.wrote_key(version, &name(a), now);
                model[a] = version;
            } else if a < b {
                resolver.wrote_range(version, &name(a), &name(b), now);
                model[a..b].fill(version);
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
