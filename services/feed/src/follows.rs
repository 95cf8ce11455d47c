//! Following: which feeds get an owner's entries, by copies or by merging.
//!
//! Owns the rows of follows, and the moment at which an owner becomes large. Invariant: an entry of
//! a large owner was posted inside one of the follower's pull intervals exactly when it is not in
//! the follower's line. A large owner stays large: its followers' intervals are written already,
//! and cost little.

use store::{Error, Position, Range, RunOptions, Transaction};

use crate::counter::{MINUS_ONE, ONE, number};
use crate::feeds::{FeedError, Feeds};
use crate::interval::Interval;

/// Most members that one member follows. Bounds what one page may have to merge.
pub(crate) const FOLLOWS_MAX: u64 = 2_000;

impl Feeds {
    /// Adds what `other` posts from now on to `owner`'s feed. True when `owner` did not follow
    /// `other` before.
    ///
    /// # Errors
    /// [`FeedError::FollowsMax`], and errors of the store.
    ///
    /// # Cancel safety
    /// The follow is written completely or not at all.
    pub async fn follow(&self, owner: &str, other: &str, options: &RunOptions) -> Result<bool, FeedError> {
        let keys = &self.keys;
        let options = options.idempotent();
        let work = async |transaction: &Transaction| {
            let rows = [keys.follow(owner, other), keys.following_count(owner), keys.large(other)];
            let [follow, count, _] = &rows;
            let found = transaction.get_all(&rows).await?;
            if found[0].is_some() {
                return Ok(false);
            }
            let following = number(found[1].as_ref());
            if following >= FOLLOWS_MAX {
                return Err(FeedError::FollowsMax { limit: FOLLOWS_MAX });
            }
            transaction.set(count, &(following + 1).to_le_bytes())?;
            transaction.set(follow, b"")?;
            transaction.set(&keys.follower(other, owner), b"")?;
            if found[2].is_some() {
                // Read with a conflict check, here and below, because a post in between would be
                // counted on the wrong side.
                let posted = number(transaction.get(&keys.posted(other)).await?.as_ref());
                transaction
                    .set_versionstamped_key(&keys.new_pull(owner, other), &Interval::opened(posted))?;
                self.touch_pulls(transaction, owner)?;
            } else {
                // Read without a conflict check, so that simultaneous follows of one owner do not
                // wait for each other.
                let known = transaction.snapshot().get(&keys.followers_count(other)).await?;
                if number(known.as_ref()) >= u64::from(self.fan_out_limit) {
                    self.grow(transaction, other).await?;
                }
            }
            transaction.add(&keys.followers_count(other), &ONE)?;
            Ok(true)
        };
        self.store.run(&options, work).await
    }

    /// Ends the flow of `other`'s entries into `owner`'s feed; entries that it has stay. True when
    /// `owner` followed `other`.
    ///
    /// # Errors
    /// Errors of the store.
    ///
    /// # Cancel safety
    /// The change is written completely or not at all.
    pub async fn unfollow(&self, owner: &str, other: &str, options: &RunOptions) -> Result<bool, FeedError> {
        let keys = &self.keys;
        let options = options.idempotent();
        let work = async |transaction: &Transaction| {
            let rows = [keys.follow(owner, other), keys.following_count(owner)];
            let [follow, count] = &rows;
            let found = transaction.get_all(&rows).await?;
            if found[0].is_none() {
                return Ok(false);
            }
            transaction.clear(follow)?;
            transaction.clear(&keys.follower(other, owner))?;
            let following = number(found[1].as_ref());
            transaction.set(count, &following.saturating_sub(1).to_le_bytes())?;
            transaction.add(&keys.followers_count(other), &MINUS_ONE)?;
            self.end_pulls(transaction, owner, other).await?;
            Ok(true)
        };
        self.store.run(&options, work).await
    }

    /// At most `limit` members that `owner` follows, after `after`, in the order of their ids'
    /// bytes; and true when there are more.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn follows(
        &self,
        owner: &str,
        after: Option<&str>,
        limit: usize,
        options: &RunOptions,
    ) -> Result<(Vec<String>, bool), Error> {
        let mut range: Range = self.keys.follows_of(owner);
        if let Some(other) = after {
            range = range.after(self.keys.follow(owner, other));
        }
        let range = range.limit(limit + 1);
        let rows = self.store.read(options, async |snapshot| snapshot.range(range.clone()).await).await?;
        let more = rows.len() > limit;
        Ok((rows.iter().take(limit).map(|row| self.keys.followed(&row.key)).collect(), more))
    }

    /// Makes `other` large: all its followers, including this transaction's, merge its entries from
    /// now on.
    async fn grow(&self, transaction: &Transaction, other: &str) -> Result<(), Error> {
        let posted = Interval::opened(number(transaction.get(&self.keys.posted(other)).await?.as_ref()));
        let mut followers = transaction.rows(self.keys.followers_of(other));
        while let Some(row) = followers.next().await? {
            let follower = self.keys.follower_named(&row.key);
            transaction.set_versionstamped_key(&self.keys.new_pull(&follower, other), &posted)?;
            self.touch_pulls(transaction, &follower)?;
        }
        transaction.set(&self.keys.large(other), b"")
    }

    /// Ends the open interval. An interval in which nothing was posted is removed.
    async fn end_pulls(&self, transaction: &Transaction, owner: &str, other: &str) -> Result<(), Error> {
        for pull in
            self.pulls_with(transaction, owner, other).await?.iter().filter(|pull| pull.ended.is_none())
        {
            let posted = self.keys.own_between(other, pull.since, Position::LAST).limit(1);
            if transaction.range(posted).await?.is_empty() {
                transaction.clear(&pull.key)?;
            } else {
                let posted = number(transaction.get(&self.keys.posted(other)).await?.as_ref());
                transaction.set_versionstamped_value(&pull.key, &pull.closed(posted))?;
            }
            self.touch_pulls(transaction, owner)?;
        }
        Ok(())
    }
}
