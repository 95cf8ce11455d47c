//! Which keys a range read reads, in which order and how many; and its results.
//!
//! Plain data: [`crate::Transaction`] reads. Invariant: a batch's `next` begins right after its
//! last row.

use std::fmt;

use bytes::Bytes;
use foundationdb_tuple::Subspace;

use crate::limits;

/// A key named relative to another, as in FoundationDB: take the last key before `key` (or equal to
/// it, with `or_equal`), then step `offset` keys forward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySelector {
    /// The key to start from.
    pub key: Bytes,
    /// True when `key` itself counts as being before.
    pub or_equal: bool,
    /// Keys to step; backward when negative.
    pub offset: i32,
}

impl KeySelector {
    /// The last key before `key`.
    #[must_use]
    pub fn last_less_than(key: impl AsRef<[u8]>) -> Self {
        Self::new(key, false, 0)
    }

    /// The last key before or equal to `key`.
    #[must_use]
    pub fn last_less_or_equal(key: impl AsRef<[u8]>) -> Self {
        Self::new(key, true, 0)
    }

    /// The first key after `key`.
    #[must_use]
    pub fn first_greater_than(key: impl AsRef<[u8]>) -> Self {
        Self::new(key, true, 1)
    }

    /// The first key at or after `key`.
    #[must_use]
    pub fn first_greater_or_equal(key: impl AsRef<[u8]>) -> Self {
        Self::new(key, false, 1)
    }

    fn new(key: impl AsRef<[u8]>, or_equal: bool, offset: i32) -> Self {
        Self { key: Bytes::copy_from_slice(key.as_ref()), or_equal, offset }
    }
}

/// A range read: from `begin` to before `end`.
///
/// ```
/// use store::{Range, Subspace};
/// let page = Range::subspace(&Subspace::from("profile")).after(b"\x02profile\x00\x15\x2a").limit(50);
/// let newest_first = Range::prefix("log/").reversed().limit(10);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// First key.
    pub begin: KeySelector,
    /// The first key after the range.
    pub end: KeySelector,
    /// Most rows; `None` for all.
    pub limit: Option<usize>,
    /// True to read from the end to the beginning.
    pub reverse: bool,
    /// See [`Range::written_after`].
    pub(crate) written_after: Option<u64>,
}

impl Range {
    /// The keys from `begin` to before `end`.
    #[must_use]
    pub fn between(begin: impl AsRef<[u8]>, end: impl AsRef<[u8]>) -> Self {
        Self::selected(KeySelector::first_greater_or_equal(begin), KeySelector::first_greater_or_equal(end))
    }

    /// The keys from `begin` to before `end`, both named by selectors.
    #[must_use]
    pub fn selected(begin: KeySelector, end: KeySelector) -> Self {
        Self { begin, end, limit: None, reverse: false, written_after: None }
    }

    /// The tuples inside `subspace`.
    #[must_use]
    pub fn subspace(subspace: &Subspace) -> Self {
        let (begin, end) = subspace.range();
        Self::between(begin, end)
    }

    /// The keys that begin with `prefix`.
    #[must_use]
    pub fn prefix(prefix: impl AsRef<[u8]>) -> Self {
        let prefix = prefix.as_ref();
        Self::between(prefix, prefix_end(prefix))
    }

    /// All keys.
    #[must_use]
    pub fn all() -> Self {
        Self::between([], [limits::SYSTEM_KEY_PREFIX])
    }

    /// Continues after `key`, the last key that was read: the next page.
    #[must_use]
    pub fn after(mut self, key: impl AsRef<[u8]>) -> Self {
        if self.reverse {
            self.end = KeySelector::first_greater_or_equal(key);
        } else {
            self.begin = KeySelector::first_greater_than(key);
        }
        self
    }

    /// At most `rows` rows.
    #[must_use]
    pub fn limit(self, rows: usize) -> Self {
        Self { limit: Some(rows), ..self }
    }

    /// Promises that every row of the range was written by a commit after `version`, as with keys
    /// that end with a versionstamp in a range that begins after one. Results are the same, but an
    /// empty range is read faster, because the embedded backend remembers the keys of the last
    /// seconds. Rows that break the promise may be left out. Has no effect on FoundationDB.
    #[must_use]
    pub fn written_after(self, version: u64) -> Self {
        Self { written_after: Some(version), ..self }
    }

    /// Reads from the end to the beginning. Must be called before [`Range::after`], which follows
    /// the direction.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self { reverse: !self.reverse, ..self }
    }

    /// The rest of this range after a batch that ended with `last` after `rows` rows.
    pub(crate) fn rest(&self, last: &[u8], rows: usize) -> Option<Self> {
        let limit = self.limit.map(|limit| limit.saturating_sub(rows));
        (limit != Some(0)).then(|| Self { limit, ..self.clone() }.after(last))
    }
}

/// A key and its value.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The key's value.
    pub value: Bytes,
}

impl fmt::Debug for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {:?}", self.key, self.value)
    }
}

/// A batch of rows of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeBatch {
    /// The rows, in the range's order; at most [`limits::BATCH_ROWS_MAX`].
    pub rows: Vec<KeyValue>,
    /// What was not read yet; `None` at the end of the range or at its limit.
    pub next: Option<Range>,
}

/// The first key after all keys that begin with `prefix`.
fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let len = prefix.iter().rposition(|&byte| byte != u8::MAX).map_or(0, |last| last + 1);
    let mut end = prefix[..len].to_vec();
    match end.last_mut() {
        Some(last) => *last += 1,
        None => end.push(limits::SYSTEM_KEY_PREFIX),
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_first_key_without_it() {
        assert_eq!(prefix_end(b"ab"), b"ac");
        assert_eq!(prefix_end(b"a\xff\xff"), b"b");
        assert_eq!(prefix_end(b""), b"\xff");
        assert_eq!(prefix_end(b"\xff\xff"), b"\xff");
    }

    #[test]
    fn the_rest_of_a_range_begins_behind_the_last_row_in_its_direction() {
        let range = Range::between("a", "z").limit(5);
        assert_eq!(range.rest(b"c", 3), Some(Range::between("a", "z").after("c").limit(2)));
        assert_eq!(range.rest(b"c", 5), None);
        let back = Range::between("a", "z").reversed();
        assert_eq!(back.rest(b"c", 3), Some(Range::between("a", "c").reversed()));
    }
}
