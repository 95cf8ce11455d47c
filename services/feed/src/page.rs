//! Pages of a feed: own entries, copies, and entries of large owners, merged by position.
//!
//! Owns the merge. Invariant: all sources are read at one moment, and a page holds the newest
//! entries before its cursor; entries committed later come before the first page, never inside.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use bytes::Bytes;
use store::{Error, Position, Range, RunOptions, Snapshot};

use crate::feeds::Feeds;
use crate::pulls::Pull;
use crate::unread::Unread;

/// Bytes of entries after which a page ends: with the last entry it still fits into one bus
/// message.
const PAGE_BYTES_MAX: usize = 512 * 1024;

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

impl Feeds {
    /// At most `limit` entries of `owner`'s feed before `before`; fewer when they are long.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn page(
        &self,
        owner: &str,
        before: Option<Position>,
        limit: usize,
        options: &RunOptions,
    ) -> Result<Page, Error> {
        let work = async |snapshot: Snapshot<'_>| match before {
            Some(before) => self.older(snapshot, owner, before, limit).await,
            None => {
                let kept = self.heads.get(owner);
                let sources = self.sources(snapshot, owner, kept.as_deref()).await?;
                self.newest(snapshot, owner, sources, kept.as_deref(), limit).await
            }
        };
        self.store.read(options, work).await
    }

    /// The first page and the unread count, at one moment.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn head(
        &self,
        owner: &str,
        limit: usize,
        options: &RunOptions,
    ) -> Result<(Page, Unread), Error> {
        let work = async |snapshot: Snapshot<'_>| {
            let kept = self.heads.get(owner);
            let sources = self.sources(snapshot, owner, kept.as_deref()).await?;
            let unread = self.unread_of(snapshot, owner, &sources).await?;
            Ok::<_, Error>((self.newest(snapshot, owner, sources, kept.as_deref(), limit).await?, unread))
        };
        self.store.read(options, work).await
    }

    async fn older(
        &self,
        snapshot: Snapshot<'_>,
        owner: &str,
        before: Position,
        limit: usize,
    ) -> Result<Page, Error> {
        // One more entry shows whether more follow.
        let mut newest = Newest::with(limit + 1, &[]);
        newest.take(snapshot, |floor| self.keys.line_between(owner, floor, before)).await?;
        newest.take(snapshot, |floor| self.keys.own_between(owner, floor, before)).await?;
        for Pull { other, since, until, .. } in &self.pulls(snapshot, owner).await? {
            let range = |floor: Position| self.keys.own_between(other, floor.max(*since), before.min(*until));
            newest.take(snapshot, range).await?;
        }
        Ok(Page::of(&newest.into_entries().1, limit))
    }
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
    fn floor(&self) -> Position {
        match self.oldest_first.peek() {
            Some(Reverse(oldest)) if self.oldest_first.len() == self.wanted => oldest.position,
            _ => Position::FIRST,
        }
    }

    /// Adds the entries in `range`, which receives [`Newest::floor`].
    pub(crate) async fn take(
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

    /// The number wanted, and the entries found, the newest first.
    pub(crate) fn into_entries(self) -> (usize, Vec<PageEntry>) {
        // Ascending order of `Reverse` is descending order of positions.
        let found = self.oldest_first.into_sorted_vec();
        (self.wanted, found.into_iter().map(|Reverse(entry)| entry).collect())
    }
}
