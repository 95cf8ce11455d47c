//! A cache of small rows that are read often.
//!
//! The engine's table of recent writes is a skip list of several hundred thousand keys, where a
//! search waits for memory dozens of times. Counters and similar rows are read by every request,
//! and some change in every group of commits.
//!
//! Owns the slots, and the check that a slot's row is that of a view. Uncommitted writes are in
//! `transaction`. Invariant: a cached row is its key's newest, up to the last published group and
//! the group being written; so it is valid for every view from its own version on.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::view::View;
use crate::error::Error;

/// Slots for rows; a row replaces another one whose key has the same slot.
const SLOTS: usize = 32 * 1024;

/// Longer values are not cached, which bounds the cache to 16 MiB.
const VALUE_BYTES_MAX: usize = 512;

/// The cached rows of a store.
pub(crate) struct Rows {
    slots: Box<[Mutex<Slot>]>,
    seed: u64,
}

#[derive(Default)]
struct Slot {
    /// The last group that wrote a key of this slot.
    written: u64,
    row: Option<Row>,
}

struct Row {
    key: Box<[u8]>,
    /// The first version with this value.
    since: u64,
    value: Option<Bytes>,
}

impl Default for Rows {
    fn default() -> Self {
        Self { slots: (0..SLOTS).map(|_| Mutex::default()).collect(), seed: fastrand::u64(..) }
    }
}

impl Rows {
    /// The value of `key` in `view`.
    pub(crate) fn get(&self, view: &View, key: &[u8]) -> Result<Option<Bytes>, Error> {
        if let Some(kept) = self.slot(key).kept(view.version, key) {
            return Ok(kept);
        }
        let value = view.get(key)?;
        if value.as_ref().is_none_or(|value| value.len() <= VALUE_BYTES_MAX) {
            self.slot(key).keep(view.version, key, value.as_deref());
        }
        Ok(value)
    }

    /// Records that the group of `version` writes `value`. Called before the group is published;
    /// the group may still fail.
    pub(crate) fn wrote(&self, version: u64, key: &[u8], value: Option<&[u8]>) {
        self.slot(key).wrote(version, key, value);
    }

    /// Forgets rows of groups after `version`, which failed.
    pub(crate) fn forget_after(&self, version: u64) {
        for slot in &self.slots {
            slot.lock().unwrap_or_else(PoisonError::into_inner).forget_after(version);
        }
    }

    fn slot(&self, key: &[u8]) -> MutexGuard<'_, Slot> {
        let hash = xxh3_64_with_seed(key, self.seed);
        let place = usize::try_from(hash % SLOTS as u64).expect("less than the slots");
        // Nothing can panic under this lock.
        self.slots[place].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// The value of `key` at `version`, if it is known.
    fn kept(&self, version: u64, key: &[u8]) -> Option<Option<Bytes>> {
        let row = self.row.as_ref().filter(|row| *row.key == *key && row.since <= version)?;
        Some(row.value.clone())
    }

    /// Stores what was read at `version`, unless a newer value may exist.
    fn keep(&mut self, version: u64, key: &[u8], value: Option<&[u8]>) {
        if self.written <= version {
            self.row =
                Some(Row { key: key.into(), since: version, value: value.map(Bytes::copy_from_slice) });
        }
    }

    fn forget_after(&mut self, version: u64) {
        self.row.take_if(|row| row.since > version);
    }

    fn wrote(&mut self, version: u64, key: &[u8], value: Option<&[u8]>) {
        self.written = version;
        let Some(row) = self.row.as_mut().filter(|row| *row.key == *key) else { return };
        if value.is_some_and(|value| value.len() > VALUE_BYTES_MAX) {
            self.row = None;
        } else {
            (row.since, row.value) = (version, value.map(Bytes::copy_from_slice));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &'static str) -> Option<Option<Bytes>> {
        Some(Some(Bytes::from_static(text.as_bytes())))
    }

    #[test]
    fn a_row_is_that_of_the_views_from_its_version_on() {
        let mut slot = Slot::default();
        slot.keep(5, b"a", Some(b"1"));
        assert_eq!([4, 5, 9].map(|version| slot.kept(version, b"a")), [None, value("1"), value("1")]);
        assert_eq!(slot.kept(5, b"b"), None);
        slot.wrote(10, b"a", Some(b"2"));
        assert_eq!([9, 10].map(|version| slot.kept(version, b"a")), [None, value("2")]);
        slot.wrote(11, b"a", None);
        assert_eq!([10, 11].map(|version| slot.kept(version, b"a")), [None, Some(None)]);
    }

    #[test]
    fn what_was_read_before_a_write_is_not_kept_after_it() {
        let mut slot = Slot::default();
        slot.wrote(7, b"b", Some(b"1"));
        slot.keep(6, b"a", Some(b"old"));
        assert_eq!(slot.kept(9, b"a"), None, "the same slot, perhaps the same key");
        slot.keep(7, b"a", Some(b"new"));
        assert_eq!(slot.kept(7, b"a"), value("new"));
    }

    #[test]
    fn rows_of_a_failed_group_are_forgotten() {
        let mut slot = Slot::default();
        slot.keep(5, b"a", Some(b"1"));
        slot.wrote(6, b"a", Some(b"failed"));
        slot.forget_after(5);
        assert_eq!(slot.kept(7, b"a"), None);
        slot.keep(7, b"a", Some(b"1"));
        slot.forget_after(7);
        assert_eq!(slot.kept(7, b"a"), value("1"));
    }

    #[test]
    fn long_values_are_not_kept() {
        let mut slot = Slot::default();
        slot.keep(1, b"a", Some(b"short"));
        slot.wrote(2, b"a", Some(&[0; VALUE_BYTES_MAX + 1]));
        assert!(slot.row.is_none());
    }
}
