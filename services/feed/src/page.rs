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
        // One more tells whether there are others.
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
    /// The page of the first `limit` of `entries`, behind which there may be more.
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

/// The newest entries found so far. Sources that come later are read down to the oldest of them only, so that a
/// hundred sources cost little more than one.
pub(crate) struct Newest {
    wanted: usize,
    oldest_first: BinaryHeap<Reverse<PageEntry>>,
}

impl Newest {
    /// At most `wanted`, of which `entries` are known.
    pub(crate) fn with(wanted: usize, entries: &[PageEntry]) -> Self {
        Self { wanted, oldest_first: entries.iter().cloned().map(Reverse).collect() }
    }

    /// Nothing at or before it can belong to the page.
    fn floor(&self) -> Position {
        match self.oldest_first.peek() {
            Some(Reverse(oldest)) if self.oldest_first.len() == self.wanted => oldest.position,
            _ => Position::FIRST,
        }
    }

    /// Adds what is in `range`, which is given what [`Newest::floor`] says.
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

    /// How many were wanted, and those found, the newest first.
    pub(crate) fn into_entries(self) -> (usize, Vec<PageEntry>) {
        // Ascending by `Reverse` is descending by position.
        let found = self.oldest_first.into_sorted_vec();
        (self.wanted, found.into_iter().map(|Reverse(entry)| entry).collect())
    }
}
