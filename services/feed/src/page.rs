//! Pages of a feed: own entries, copies, and entries of large owners.
//!
//! Owns what a page reads. `merge` merges the sources, `heads` reads first pages. Invariant: all
//! sources are read at one moment, and a page holds the newest entries before its cursor; entries
//! committed later come before the first page, never inside.

use store::{Error, Position, RunOptions, Snapshot};

use crate::feeds::Feeds;
use crate::interval::Interval;
use crate::merge::{Newest, Page};
use crate::unread::Unread;

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
        for Interval { other, since, until, .. } in &self.pulls(snapshot, owner).await? {
            let range = |floor: Position| self.keys.own_between(other, floor.max(*since), before.min(*until));
            newest.take(snapshot, range).await?;
        }
        Ok(Page::of(&newest.into_entries().1, limit))
    }
}
