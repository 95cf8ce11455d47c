//! First pages of feeds, from the cache where it is current.
//!
//! Owns the check that a cached head is current, and its renewal. Invariant: entries are never
//! changed or removed, so a feed's newest entries are those of an earlier moment and what its
//! sources received since; a source whose counter is unchanged received nothing. So every answer
//! equals that of the store at a moment after the request began.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{try_join, try_join_all};
use store::{Error, Position, Snapshot};

use crate::cache::{Head, Sources};
use crate::counter::{Changes, number};
use crate::feeds::Feeds;
use crate::mark::Mark;
use crate::merge::{Newest, PULLS_AT_ONCE, Page};

/// Most large owners whose counters are read one by one to check a cached head. With more, the
/// transaction is cheaper, because many feeds share its counters.
const CHECKED_MAX: usize = 4;

impl Feeds {
    /// The cached head of `owner`'s feed, if it is current at a moment after this call. Reads one
    /// row, and one for each large owner that is followed; all at once.
    pub(crate) async fn current(&self, owner: &str) -> Result<Option<Arc<Head>>, Error> {
        let Some(head) = self.heads.get(owner) else { return Ok(None) };
        let Sources { pulls, pulled, changes, .. } = &head.sources;
        let open = || pulls.iter().zip(pulled).filter(|(pull, _)| pull.ended.is_none());
        if open().count() > CHECKED_MAX {
            return Ok(None);
        }
        let counts = open().map(async |(pull, _)| self.store.get(&self.keys.posted(&pull.other)).await);
        let key = self.keys.changes(owner);
        let (found, counts) = try_join(self.store.get(&key), try_join_all(counts)).await?;
        // These may be of different moments. Counters never return to an earlier number, so the
        // head was current at the earliest of the moments.
        let is_current = Changes::of(found.as_deref()) == *changes
            && open().map(|(_, count)| *count).eq(counts.iter().map(|count| number(count.as_ref())));
        Ok(is_current.then_some(head))
    }

    /// The sources of `owner`'s feed, whose cached head is `kept`.
    pub(crate) async fn sources(
        &self,
        snapshot: Snapshot<'_>,
        owner: &str,
        kept: Option<&Head>,
    ) -> Result<Sources, Error> {
        let keys = &self.keys;
        let rows = [keys.changes(owner), keys.posted(owner), keys.pulls_changed(owner), keys.read(owner)];
        let (version, rows) = try_join(snapshot.read_version(), snapshot.get_all(&rows)).await?;
        let [changes, posted, changed, mark] = &rows[..] else { unreachable!("one value for each key") };
        let (changes, mark) = (Changes::of(changes.as_deref()), Mark::of(mark.as_deref()));
        let changed = changed.as_ref().and_then(|row| Position::from_prefix(row)).unwrap_or(Position::FIRST);
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
        Ok(Sources { version, changes, posted: number(posted.as_ref()), mark, changed, pulls, pulled })
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
            if head.sources.changes != sources.changes {
                // No entry arrived; usually the feed was marked as read.
                let head = Head::new(sources, head.wanted, head.entries.clone());
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
        let (keys, after) = (&self.keys, newest.floor().max(since));
        let has_copies = before.is_none_or(|before| before.changes.arrived != sources.changes.arrived);
        let has_own = before.is_none_or(|before| before.posted != sources.posted);
        let copies = has_copies.then(|| keys.line_between(owner, after, Position::LAST));
        let own = has_own.then(|| keys.own_between(owner, after, Position::LAST));
        newest.take(snapshot, copies.into_iter().chain(own)).await?;
        let received = |at: usize| before.is_none_or(|before| before.pulled[at] != sources.pulled[at]);
        let pulls: Vec<_> = (0..sources.pulls.len()).filter(|at| received(*at)).collect();
        for pulls in pulls.chunks(PULLS_AT_ONCE) {
            let after = newest.floor().max(since);
            let ranges = pulls.iter().map(|at| {
                let pull = &sources.pulls[*at];
                keys.own_between(&pull.other, after.max(pull.since), pull.until)
            });
            newest.take(snapshot, ranges).await?;
        }
        let (wanted, mut entries) = newest.into_entries();
        let page = Page::of(&entries, limit);
        if kept.is_none_or(|head| is_older(&head)) {
            // Copied, because a cached slice would keep a whole block of the store.
            for entry in entries.iter_mut().take_while(|entry| entry.position > since) {
                entry.entry = Bytes::copy_from_slice(&entry.entry);
            }
            self.heads.insert(owner.to_owned(), Arc::new(Head::new(sources, wanted, entries)));
        }
        Ok(page)
    }
}
