//! Pages of a feed: own entries, copies, and entries of large owners.
//!
//! Owns what a page reads. `merge` merges the sources, `heads` reads first pages. Invariant: all
//! sources are read at one moment, and a page holds the newest entries before its cursor; entries
//! committed later come before the first page, never inside.

use futures_util::future::try_join;
use store::{Error, Position, RunOptions, Snapshot};

use crate::cache::{Answers, Tagged};
use crate::feeds::Feeds;
use crate::interval::Interval;
use crate::merge::{Newest, PULLS_AT_ONCE, Page};
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
        let Some(before) = before else { return Ok(self.head(owner, limit, options).await?.0) };
        let work = async |snapshot: Snapshot<'_>| self.older(snapshot, owner, before, limit).await;
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
        if let Some(head) = self.current(owner).await?.filter(|head| head.wanted > limit) {
            return Ok((Page::of(&head.entries, limit), Unread::of(&head.sources)));
        }
        self.renewed(owner, limit, options).await
    }

    /// One of the answers that `encode` makes of [`Feeds::head`]. While the cached head is current,
    /// they are made once.
    pub(crate) async fn first(
        &self,
        owner: &str,
        limit: usize,
        options: &RunOptions,
        encode: fn(&Page, &Unread) -> Answers,
        which: fn(&Answers) -> &Tagged,
    ) -> Result<Tagged, Error> {
        if let Some(head) = self.current(owner).await?.filter(|head| head.wanted > limit) {
            let encode = || encode(&Page::of(&head.entries, limit), &Unread::of(&head.sources));
            return Ok(head.answer(limit, which, encode));
        }
        let (page, unread) = self.renewed(owner, limit, options).await?;
        Ok(which(&encode(&page, &unread)).clone())
    }

    /// The first page and the unread count from the store, which renew the cached head.
    async fn renewed(
        &self,
        owner: &str,
        limit: usize,
        options: &RunOptions,
    ) -> Result<(Page, Unread), Error> {
        let work = async |snapshot: Snapshot<'_>| {
            let kept = self.heads.get(owner);
            let sources = self.sources(snapshot, owner, kept.as_deref()).await?;
            let unread = Unread::of(&sources);
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
        let floor = newest.floor();
        let copied = self.keys.line_between(owner, floor, before);
        let own = self.keys.own_between(owner, floor, before);
        let (pulls, ()) = try_join(self.pulls(snapshot, owner), newest.take(snapshot, [copied, own])).await?;
        for pulls in pulls.chunks(PULLS_AT_ONCE) {
            let floor = newest.floor();
            let range = |Interval { other, since, until, .. }: &Interval| {
                self.keys.own_between(other, floor.max(*since), before.min(*until))
            };
            newest.take(snapshot, pulls.iter().map(range)).await?;
        }
        Ok(Page::of(&newest.into_entries().1, limit))
    }
}
