//! First pages of feeds, from the cache where it is current.
//!
//! Owns the check that a cached head is current, and its renewal. Invariant: entries are never
//! changed or removed, so a feed's newest entries are those of an earlier moment and what its
//! sources received since; a source whose counter is unchanged received nothing. So every answer
//! equals that of the store at the moment of the read.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{try_join_all, try_join3};
use store::{Error, Position, Snapshot};

use crate::cache::{Head, Sources};
use crate::counter::number;
use crate::feeds::Feeds;
use crate::merge::{Newest, Page};

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
