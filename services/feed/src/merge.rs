//! Pages, and the merge of their sources by position.
//!
//! Owns the merge. Invariant: the result holds the newest entries of all sources, in order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use bytes::Bytes;
use store::{Error, Position, Range, Snapshot};

/// Bytes of entries after which a page ends: with the last entry it still fits into one bus
/// message.
const PAGE_BYTES_MAX: usize = 512 * 1024;

/// Sources of large owners that are read at once. The later ones are read down to the oldest entry
/// found so far, so more at once would read rows in vain.
pub(crate) const PULLS_AT_ONCE: usize = 8;

/// Entries of a feed, the newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The newest entry first.
    pub entries: Vec<PageEntry>,
    /// The position before which the next page begins; `None` at the end.
    pub next: Option<Position>,
}

/// An entry and its position.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PageEntry {
    /// The entry's position.
    pub position: Position,
    /// The entry's JSON text as it is stored.
    pub entry: Bytes,
}

impl Page {
    /// A page of the first `limit` of `entries`, which may hold more.
    pub(crate) fn of(entries: &[PageEntry], limit: usize) -> Self {
        let mut bytes = 0;
        let fits = |entry: &&PageEntry| {
            let before = bytes;
            bytes += entry.entry.len();
            before < PAGE_BYTES_MAX
        };
        let len = entries.iter().take(limit).take_while(fits).count();
        let next = (entries.len() > len).then(|| entries[..len].last()).flatten().map(|last| last.position);
        Self { entries: entries[..len].to_vec(), next }
    }
}

/// The newest entries found so far. Later sources are read down to the oldest of these only, so a
/// hundred sources cost little more than one.
pub(crate) struct Newest {
    wanted: usize,
    oldest_first: BinaryHeap<Reverse<PageEntry>>,
}

impl Newest {
    /// Collects at most `wanted` entries, beginning with `entries`.
    pub(crate) fn with(wanted: usize, entries: &[PageEntry]) -> Self {
        Self { wanted, oldest_first: entries.iter().cloned().map(Reverse).collect() }
    }

    /// Entries at or before this position cannot belong to the page.
    pub(crate) fn floor(&self) -> Position {
        match self.oldest_first.peek() {
            Some(Reverse(oldest)) if self.oldest_first.len() == self.wanted => oldest.position,
            _ => Position::FIRST,
        }
    }

    /// Adds the entries in `ranges`, which are read at once and begin at [`Newest::floor`] or
    /// later.
    pub(crate) async fn take(
        &mut self,
        snapshot: Snapshot<'_>,
        ranges: impl IntoIterator<Item = Range>,
    ) -> Result<(), Error> {
        let ranges: Vec<Range> = ranges.into_iter().map(|range| range.limit(self.wanted)).collect();
        for rows in snapshot.range_all(&ranges).await? {
            for row in rows {
                let position = Position::of_key(&row.key);
                if position <= self.floor() {
                    break;
                }
                if self.oldest_first.len() == self.wanted {
                    self.oldest_first.pop();
                }
                self.oldest_first.push(Reverse(PageEntry { position, entry: row.value }));
            }
        }
        Ok(())
    }

    /// The number wanted, and the entries found, the newest first.
    pub(crate) fn into_entries(self) -> (usize, Vec<PageEntry>) {
        // Ascending order of `Reverse` is descending order of positions.
        let found = self.oldest_first.into_sorted_vec();
        (self.wanted, found.into_iter().map(|Reverse(entry)| entry).collect())
    }
}
