//! Following: who gets whose entries, by copies or by merging.
//!
//! Owns: the rows of follows, and the moment at which an owner becomes large. Invariant: an entry of a large owner that
//! is not in a follower's line was posted inside one of the follower's pull intervals, and one that is in the line was
//! not. An owner that became large stays so: its followers' intervals are written, and cost little.

use store::{Error, Position, Range, RunOptions, Transaction};

use crate::feeds::{FeedError, Feeds, ONE, number};
use crate::pulls::Pull;

/// Most that one member follows: bounds what one page may have to merge.
pub(crate) const FOLLOWS_MAX: u64 = 2_000;

/// Little-endian minus one: counters wrap.
const MINUS_ONE: [u8; 8] = [u8::MAX; 8];

impl Feeds {
    /// From now on `owner`'s feed has what `other` posts. True when it had not before.
    ///
    /// # Errors
    /// [`FeedError::FollowsMax`], and the store's errors.
    ///
    /// # Cancel safety
    /// All or nothing.
    pub async fn follow(&self, owner: &str, other: &str, options: &RunOptions) -> Result<bool, FeedError> {
        let keys = &self.keys;
        let options = options.idempotent();
        let work = async |transaction: &Transaction| {
            let follow = keys.follow(owner, other);
            if transaction.get(&follow).await?.is_some() {
                return Ok(false);
            }
            let count = keys.following_count(owner);
            let following = number(transaction.get(&count).await?.as_ref());
            if following >= FOLLOWS_MAX {
                return Err(FeedError::FollowsMax { limit: FOLLOWS_MAX });
            }
            transaction.set(&count, &(following + 1).to_le_bytes())?;
            transaction.set(&follow, b"")?;
            transaction.set(&keys.follower(other, owner), b"")?;
            if transaction.get(&keys.large(other)).await?.is_some() {
                // With a check, here and below: what is posted meanwhile would be on the wrong side of the count.
                let posted = number(transaction.get(&keys.posted(other)).await?.as_ref());
                transaction.set_versionstamped_key(&keys.new_pull(owner, other), &Pull::opened(posted))?;
                self.touch_pulls(transaction, owner)?;
            } else {
                // Read without a check: follows of one owner at the same time must not wait for each other.
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

    /// `owner`'s feed has no new entries of `other` any more; what came stays. True when it had.
    ///
    /// # Errors
    /// The store's.
    ///
    /// # Cancel safety
    /// All or nothing.
    pub async fn unfollow(&self, owner: &str, other: &str, options: &RunOptions) -> Result<bool, FeedError> {
        let keys = &self.keys;
        let options = options.idempotent();
        let work = async |transaction: &Transaction| {
            let follow = keys.follow(owner, other);
            if transaction.get(&follow).await?.is_none() {
                return Ok(false);
            }
            transaction.clear(&follow)?;
            transaction.clear(&keys.follower(other, owner))?;
            let count = keys.following_count(owner);
            let following = number(transaction.get(&count).await?.as_ref());
            transaction.set(&count, &following.saturating_sub(1).to_le_bytes())?;
            transaction.add(&keys.followers_count(other), &MINUS_ONE)?;
            self.end_pulls(transaction, owner, other).await?;
            Ok(true)
        };
        self.store.run(&options, work).await
    }

    /// At most `limit` of those whom `owner` follows, behind `after`, in the order of their ids' bytes; and whether
    /// there are more.
    ///
    /// # Errors
    /// The store's.
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

    /// `other` becomes large: whoever follows it now, this transaction's follower included, merges from here on.
    async fn grow(&self, transaction: &Transaction, other: &str) -> Result<(), Error> {
        let posted = Pull::opened(number(transaction.get(&self.keys.posted(other)).await?.as_ref()));
        let mut followers = transaction.rows(self.keys.followers_of(other));
        while let Some(row) = followers.next().await? {
            let follower = self.keys.follower_named(&row.key);
            transaction.set_versionstamped_key(&self.keys.new_pull(&follower, other), &posted)?;
            self.touch_pulls(transaction, &follower)?;
        }
        transaction.set(&self.keys.large(other), b"")
    }

    /// Ends the open interval; one in which nothing was posted leaves no row behind.
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
