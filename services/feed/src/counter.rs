//! Counters in the store.
//!
//! Owns their form, little-endian integers that commits add to, the changes of a feed, and the
//! number above which unread entries are no longer counted.
//!
//! Invariant: every addition to a row of changes has its whole length, because the store shortens
//! a value to the operand's length.

use bytes::Bytes;

/// One, as an operand of an addition.
pub(crate) const ONE: [u8; 8] = 1_u64.to_le_bytes();

/// Minus one, as an operand of an addition: counters wrap.
pub(crate) const MINUS_ONE: [u8; 8] = [u8::MAX; 8];

/// Most unread entries that are counted; a larger number is of no use to readers.
pub(crate) const UNREAD_MAX: u64 = 1_000;

/// What ever changed in a feed, in one row: a cached head is current while the row stays the same.
///
/// Four counters of 8 bytes. Rows that were written before there were four have the first alone,
/// and an addition extends them by zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Copies written into the line.
    pub(crate) arrived: u64,
    /// Own entries.
    posted: u64,
    /// Changes of the `pull` rows.
    pulls: u64,
    /// Changes of the `read` row.
    marks: u64,
}

impl Changes {
    /// A copy arrives.
    pub(crate) const ARRIVED: Self = Self { arrived: 1, ..Self::NONE };
    /// The owner posts.
    pub(crate) const POSTED: Self = Self { posted: 1, ..Self::NONE };
    /// The `pull` rows change.
    pub(crate) const PULLS: Self = Self { pulls: 1, ..Self::NONE };
    /// The `read` row changes.
    pub(crate) const MARKED: Self = Self { marks: 1, ..Self::NONE };

    const NONE: Self = Self { arrived: 0, posted: 0, pulls: 0, marks: 0 };

    /// The row; a missing one is zero.
    pub(crate) fn of(value: Option<&[u8]>) -> Self {
        let (chunks, _) = value.unwrap_or_default().as_chunks::<8>();
        let number = |at: usize| chunks.get(at).map_or(0, |chunk| u64::from_le_bytes(*chunk));
        Self { arrived: number(0), posted: number(1), pulls: number(2), marks: number(3) }
    }

    /// As an operand of an addition.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        [self.arrived, self.posted, self.pulls, self.marks].map(u64::to_le_bytes).concat()
    }
}

/// A counter's value; a missing counter is zero.
pub(crate) fn number(value: Option<&Bytes>) -> u64 {
    value.and_then(|value| value.first_chunk().copied()).map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_one_counter_is_read_as_four() {
        let old = 7_u64.to_le_bytes();
        assert_eq!(Changes::of(Some(&old)), Changes { arrived: 7, ..Changes::default() });
        assert_eq!(Changes::of(None), Changes::default());
        let marked = Changes::MARKED.to_bytes();
        assert_eq!((marked.len(), Changes::of(Some(&marked))), (32, Changes::MARKED));
    }
}
