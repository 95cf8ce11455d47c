//! The value of a `pull` row: an interval in which a member follows a large owner.
//!
//! Owns the bytes of the row. `pulls` reads and writes the rows.

use store::{Position, limits::STAMP_BYTES};

/// Bytes of a count.
const COUNT_BYTES: usize = size_of::<u64>();

/// An interval in which a member follows a large owner.
pub(crate) struct Interval {
    pub(crate) key: bytes::Bytes,
    pub(crate) other: String,
    /// The interval covers entries after this position.
    pub(crate) since: Position,
    /// The interval covers entries before this position.
    pub(crate) until: Position,
    /// Entries that `other` had posted when the interval began, or up to the owner's read mark.
    pub(crate) begun: u64,
    /// Entries that `other` had posted when the interval ended; `None` for an open interval.
    pub(crate) ended: Option<u64>,
}

impl Interval {
    pub(crate) fn of(other: String, row: &store::KeyValue) -> Self {
        let since = Position::of_key(&row.key);
        let (begun, end) = row.value.split_at_checked(COUNT_BYTES).unwrap_or_default();
        let (ended, until) = end.split_at_checked(COUNT_BYTES).unwrap_or_default();
        Self {
            key: row.key.clone(),
            other,
            since,
            until: Position::from_prefix(until).unwrap_or(Position::LAST),
            begun: count(begun),
            ended: (!ended.is_empty()).then(|| count(ended)),
        }
    }

    /// Unread entries of the interval when `other` has posted `posted` entries.
    pub(crate) fn unread(&self, posted: u64) -> u64 {
        self.ended.unwrap_or(posted).saturating_sub(self.begun)
    }

    /// The value of an open row when the first `posted` entries are read or before the interval.
    pub(crate) fn opened(posted: u64) -> [u8; COUNT_BYTES] {
        posted.to_le_bytes()
    }

    /// The value of a row that ends with this commit, to be stamped; `other` has posted `posted`
    /// entries.
    pub(crate) fn closed(&self, posted: u64) -> Vec<u8> {
        let stamp_at = u32::try_from(2 * COUNT_BYTES).expect("a few bytes").to_le_bytes();
        [&self.begun.to_le_bytes()[..], &posted.to_le_bytes(), &[0; STAMP_BYTES], &stamp_at].concat()
    }

    /// The value when the first `posted` entries are read; `None` when the row does not change.
    pub(crate) fn read_to(&self, posted: u64) -> Option<Vec<u8>> {
        let ended = self.ended.map(|ended| [&ended.to_le_bytes()[..], self.until.as_bytes()].concat());
        (posted > self.begun).then(|| [&posted.to_le_bytes()[..], &ended.unwrap_or_default()].concat())
    }
}

fn count(bytes: &[u8]) -> u64 {
    bytes.first_chunk().copied().map_or(0, u64::from_le_bytes)
}
