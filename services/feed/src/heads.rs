//! The newest entries of frequently read feeds, kept in memory.
//!
//! Owns the cache, and the check that a cached head is current. Invariant: entries are never
//! changed or removed, so a feed's newest entries are those of an earlier moment and what its
//! sources received since; a source whose counter is unchanged received nothing. So every answer
//! equals that of the store at the moment of the read.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{try_join_all, try_join3};
use quick_cache::{Weighter, sync::Cache};
use store::{Error, Position, Snapshot};

use crate::feeds::{Feeds, number};
use crate::page::{Newest, Page, PageEntry};
use crate::pulls::Pull;

/// Memory of an entry or a head beside its text.
const OVERHEAD_BYTES: u64 = 96;

/// Expected bytes of a head; sizes the cache's table.
const HEAD_BYTES_TYPICAL: u64 = 8 * 1024;

/// Heads of feeds, shared by all workers.
pub(crate) type Heads = Cache<String, Arc<Head>, Weight>;

/// An empty cache of at most `bytes`.
pub(crate) fn heads(bytes: u64) -> Heads {
    let items = usize::try_from(bytes / HEAD_BYTES_TYPICAL).unwrap_or(usize::MAX);
    Cache::with_weighter(items, bytes, Weight)
}

/// The newest entries of a feed at a version.
pub(crate) struct Head {
    sources: Sources,
    /// Most entries that it can have.
    wanted: usize,
    /// The newest entry first.
    entries: Vec<PageEntry>,
}

/// Where a feed's entries come from, and how many entries each source had received at one moment.
pub(crate) struct Sources {
    version: u64,
    pub(crate) arrived: u64,
    posted: u64,
    /// When `pulls` changed last.
    changed: Position,
    pub(crate) pulls: Arc<[Pull]>,
    /// Entries received from each of `pulls`, in the same order; for an interval that ended, up to
    /// its end.
    pub(crate) pulled: Vec<u64>,
}

#[derive(Clone)]
pub(crate) struct Weight;

impl Weighter<String, Arc<Head>> for Weight {
    fn weight(&self, owner: &String, head: &Arc<Head>) -> u64 {
        let texts: usize = head.entries.iter().map(|entry| entry.entry.len()).sum();
        let pulls: usize = head.sources.pulls.iter().map(|pull| pull.key.len() + pull.other.len()).sum();
        let parts = 2 + head.entries.len() + head.sources.pulls.len();
        (owner.len() + texts + pulls) as u64 + OVERHEAD_BYTES * parts as u64
    }
}

impl Feeds {
    /// The sources of `owner`'s feed, whose cached head is `kept`.
    pub(crate) async fn sources(
        &self,
        snapshot: Snapshot<'_>,
        owner: &str,
        kept: Option<&Head>,
    ) -> Result<Sources, Error> {
        let version = snapshot.read_version().await?;
        let (arrived, posted, changed) =
            (self.keys.arrived(owner), self.keys.posted(owner), self.keys.pulls_changed(owner));
        let rows = try_join3(snapshot.get(&arrived), snapshot.get(&posted), snapshot.get(&changed));
        let (arrived, posted, changed) = rows.await?;
        let changed = changed.and_then(|row| Position::from_prefix(&row)).unwrap_or(Position::FIRST);
        let pulls = match kept.filter(|head| head.sources.changed == changed) {
            Some(head) => Arc::clone(&head.sources.pulls),
            None if changed == Position::FIRST => Arc::default(),
            None => self.pulls(snapshot, owner).await?.into(),
        };
        let pulled = pulls.iter().map(async |pull| match pull.ended {
            Some(ended) => Ok(ended),
            None => {
                let key = || self.keys.posted(&pull.other);
                self.counts.get(snapshot, version, &pull.other, key).await
            }
        });
        let pulled = try_join_all(pulled).await?;
        let (arrived, posted) = (number(arrived.as_ref()), number(posted.as_ref()));
        Ok(Sources { version, arrived, posted, changed, pulls, pulled })
    }

    /// The first page of `owner`'s feed. `sources` are its sources at the moment of `snapshot`;
    /// `kept` is its cached head.
    pub(crate) async fn newest(
        &self,
        snapshot: Snapshot<'_>,
        owner: &str,
        sources: Sources,
        kept: Option<&Head>,
        limit: usize,
    ) -> Result<Page, Error> {
        // One more entry shows whether more follow.
        let wanted = limit + 1;
        let is_older = |head: &&Head| head.sources.version <= sources.version;
        let known =
            kept.filter(is_older).filter(|head| head.wanted >= wanted && head.sources.are_those_of(&sources));
        if let Some(head) = known
            && head.sources.have_got(&sources)
        {
            let page = Page::of(&head.entries, limit);
            if head.sources.changed != sources.changed {
                // The intervals differ but name the same members; usually the feed was marked as
                // read.
                let head = Head { sources, wanted: head.wanted, entries: head.entries.clone() };
                self.heads.insert(owner.to_owned(), Arc::new(head));
            }
            return Ok(page);
        }
        let before = known.map(|head| &head.sources);
        let since = known.map_or(Position::FIRST, |head| Position::newest_at(head.sources.version));
        let mut newest = match known {
            Some(head) => Newest::with(head.wanted, &head.entries),
            None => Newest::with(wanted, &[]),
        };
        let (keys, last) = (&self.keys, Position::LAST);
        if before.is_none_or(|before| before.arrived != sources.arrived) {
            newest.take(snapshot, |floor| keys.line_between(owner, floor.max(since), last)).await?;
        }
        if before.is_none_or(|before| before.posted != sources.posted) {
            newest.take(snapshot, |floor| keys.own_between(owner, floor.max(since), last)).await?;
        }
        for (at, pull) in sources.pulls.iter().enumerate() {
            if before.is_none_or(|before| before.pulled[at] != sources.pulled[at]) {
                let after = since.max(pull.since);
                let range = |floor: Position| keys.own_between(&pull.other, floor.max(after), pull.until);
                newest.take(snapshot, range).await?;
            }
        }
        let (wanted, mut entries) = newest.into_entries();
        let page = Page::of(&entries, limit);
        if kept.is_none_or(|head| is_older(&head)) {
            // Copied, because a cached slice would keep a whole block of the store.
            for entry in entries.iter_mut().take_while(|entry| entry.position > since) {
                entry.entry = Bytes::copy_from_slice(&entry.entry);
            }
            self.heads.insert(owner.to_owned(), Arc::new(Head { sources, wanted, entries }));
        }
        Ok(page)
    }
}

impl Sources {
    /// True when both have the same sources, whatever these received.
    fn are_those_of(&self, other: &Self) -> bool {
        let interval = |pull: &Pull| (pull.key.clone(), pull.until);
        Arc::ptr_eq(&self.pulls, &other.pulls)
            || self.pulls.iter().map(interval).eq(other.pulls.iter().map(interval))
    }

    /// True when both received the same number of entries.
    fn have_got(&self, other: &Self) -> bool {
        (self.arrived, self.posted, &self.pulled) == (other.arrived, other.posted, &other.pulled)
    }
}
