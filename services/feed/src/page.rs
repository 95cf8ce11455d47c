//! Pages of a feed: own entries, copies, and what large owners posted, merged by position.
//!
//! Owns: the merge. Invariant: all sources are read at one moment, and a page holds the newest entries before its cursor:
//! what is committed later stands before the first page, never inside.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use bytes::Bytes;
use store::{Error, Position, Range, RunOptions, Snapshot};

use crate::feeds::Feeds;
use crate::pulls::Pull;
use crate::unread::Unread;

/// A page ends when its entries pass this many bytes: with the last one it still fits into one message of the bus.
const PAGE_BYTES_MAX: usize = 512 * 1024;

/// Some entries, the newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The entries.
    pub entries: Vec<PageEntry>,
    /// Where the next page goes on; `None` at the end.
    pub next: Option<Position>,
}

/// An entry and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PageEntry {
    /// Its position.
    pub position: Position,
    /// Its JSON text as it is kept.
    pub entry: Bytes,
}

impl Feeds {
    /// At most `limit` entries of `owner`'s feed before `before`; fewer when they are long.
    ///
    /// # Errors
    /// The store's.
    pub async fn page(
        &self,
        owner: &str,
        before: Option<Position>,
        limit: usize,
        options: &RunOptions,
    ) -> Result<Page, Error> {
        let before = before.unwrap_or(Position::LAST);
        let work = async |snapshot: Snapshot<'_>| {
            let pulls = self.pulls(snapshot, owner).await?;
            self.page_at(snapshot, owner, &pulls, before, limit).await
        };
        self.store.read(options, work).await
    }

    /// The first page and what is unread, at one moment.
    ///
    /// # Errors
    /// The store's.
    pub async fn head(
        &self,
        owner: &str,
        limit: usize,
        options: &RunOptions,
    ) -> Result<(Page, Unread), Error> {
        let work = async |snapshot: Snapshot<'_>| {
            let pulls = self.pulls(snapshot, owner).await?;
            let page = self.page_at(snapshot, owner, &pulls, Position::LAST, limit).await?;
            Ok::<_, Error>((page, self.unread_at(snapshot, owner, &pulls).await?))
        };
        self.store.read(options, work).await
    }

    async fn page_at(
        &self,
        snapshot: Snapshot<'_>,
        owner: &str,
        pulls: &[Pull],
        before: Position,
        limit: usize,
    ) -> Result<Page, Error> {
        // One more tells whether there are others.
        let mut newest = Newest::new(limit + 1);
        newest.take(snapshot, |floor| self.keys.line_between(owner, floor, before)).await?;
        newest.take(snapshot, |floor| self.keys.own_between(owner, floor, before)).await?;
        for Pull { other, since, until, .. } in pulls {
            let range = |floor: Position| self.keys.own_between(other, floor.max(*since), before.min(*until));
            newest.take(snapshot, range).await?;
        }
        Ok(newest.into_page(limit))
    }
}

/// The newest entries found so far. Sources that come later are read down to the oldest of them only, so that a
/// hundred sources cost little more than one.
struct Newest {
    wanted: usize,
    oldest_first: BinaryHeap<Reverse<PageEntry>>,
}

impl Newest {
    fn new(wanted: usize) -> Self {
        Self { wanted, oldest_first: BinaryHeap::new() }
    }

    /// Nothing at or before it can belong to the page.
    fn floor(&self) -> Position {
        match self.oldest_first.peek() {
            Some(Reverse(oldest)) if self.oldest_first.len() == self.wanted => oldest.position,
            _ => Position::FIRST,
        }
    }

    async fn take(
        &mut self,
        snapshot: Snapshot<'_>,
        range: impl FnOnce(Position) -> Range,
    ) -> Result<(), Error> {
        let mut rows = snapshot.rows(range(self.floor()).limit(self.wanted));
        while let Some(row) = rows.next().await? {
            let position = Position::of_key(&row.key);
            if position <= self.floor() {
                break;
            }
            if self.oldest_first.len() == self.wanted {
                self.oldest_first.pop();
            }
            self.oldest_first.push(Reverse(PageEntry { position, entry: row.value }));
        }
        Ok(())
    }

    fn into_page(self, limit: usize) -> Page {
        // Ascending by `Reverse` is descending by position.
        let found = self.oldest_first.into_sorted_vec();
        let mut bytes = 0;
        let fits = |entry: &&Reverse<PageEntry>| {
            let before = bytes;
            bytes += entry.0.entry.len();
            before < PAGE_BYTES_MAX
        };
        let len = found.iter().take(limit).take_while(fits).count();
        let more = found.len() > len;
        let entries: Vec<PageEntry> = found.into_iter().take(len).map(|Reverse(entry)| entry).collect();
        let next = entries.last().filter(|_| more).map(|last| last.position);
        Page { entries, next }
    }
}
