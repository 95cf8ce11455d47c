//! Posting: writes an entry into its owner's feed and into the followers' feeds.
//!
//! Owns the transaction of a post. Invariant: an entry, its copies and its client id are one
//! commit, so they share one position, and a repeated id finds the entry it made.

use std::sync::Arc;

use bytes::Bytes;
use store::{Error, Position, RunOptions, Store, Transaction, limits::STAMP_BYTES};

use crate::cache::{Heads, heads};
use crate::counter::{Changes, ONE};
use crate::counts::Counts;
use crate::entry::NewEntry;
use crate::keys::Keys;

/// The feeds of a store. Cheap to clone.
#[derive(Clone)]
pub struct Feeds {
    pub(crate) store: Store,
    pub(crate) keys: Keys,
    /// Followers up to which entries are copied.
    pub(crate) fan_out_limit: u32,
    pub(crate) heads: Arc<Heads>,
    pub(crate) counts: Arc<Counts>,
}

/// Why a feed could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The client id already names another entry.
    #[error("the id {id:?} belongs to an entry with another text or author")]
    IdTaken {
        /// The client id.
        id: String,
    },
    /// The owner follows as many members as allowed.
    #[error("a member follows at most {limit} others")]
    FollowsMax {
        /// The limit.
        limit: u64,
    },
    /// An error of the store.
    #[error(transparent)]
    Store(#[from] Error),
}

/// An entry that was posted, now or earlier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// The entry's position.
    pub position: Position,
    /// The entry's JSON text as it is stored.
    pub entry: Bytes,
    /// False when the entry was posted earlier.
    pub is_new: bool,
}

enum Outcome {
    New(store::CommitStamp),
    Known(Position, Bytes),
}

impl Feeds {
    /// The feeds in `store`. Entries of owners with more than `fan_out_limit` followers are merged
    /// when a feed is read. The newest entries are cached in `cache_bytes` of memory.
    #[must_use]
    pub fn new(store: Store, fan_out_limit: u32, cache_bytes: u64) -> Self {
        Self {
            store,
            keys: Keys::new(),
            fan_out_limit,
            heads: Arc::new(heads(cache_bytes)),
            counts: Arc::default(),
        }
    }

    /// Posts an entry; repeating it with the same id has no further effect.
    ///
    /// # Errors
    /// [`FeedError::IdTaken`], and errors of the store.
    ///
    /// # Cancel safety
    /// The entry is posted completely or not at all.
    pub async fn post(
        &self,
        owner: &str,
        entry: &NewEntry,
        at_ms: u64,
        options: &RunOptions,
    ) -> Result<Posted, FeedError> {
        let text = Bytes::from(entry.stored(at_ms));
        // The id makes a second attempt harmless, whatever the outcome of the first.
        let options = options.idempotent();
        let outcome = self
            .store
            .run(&options, async |transaction| {
                let rows = [self.keys.id(owner, &entry.id), self.keys.large(owner)];
                let rows = transaction.get_all(&rows).await?;
                if let Some(known) = &rows[0]
                    && let Some((position, entry)) = self.known(transaction, owner, entry, known).await?
                {
                    return Ok(Outcome::Known(position, entry));
                }
                self.write(transaction, owner, entry, &text, rows[1].is_some()).await?;
                Ok::<_, FeedError>(Outcome::New(transaction.versionstamp()))
            })
            .await?;
        Ok(match outcome {
            Outcome::New(stamp) => Posted { position: stamp.await?.into(), entry: text, is_new: true },
            Outcome::Known(position, entry) => Posted { position, entry, is_new: false },
        })
    }

    /// The entry that was posted earlier with this id; `known` is the id's row.
    async fn known(
        &self,
        transaction: &Transaction,
        owner: &str,
        entry: &NewEntry,
        known: &[u8],
    ) -> Result<Option<(Position, Bytes)>, FeedError> {
        let taken = || FeedError::IdTaken { id: entry.id.clone() };
        if known.get(STAMP_BYTES..) != Some(&entry.hash().to_le_bytes()[..]) {
            return Err(taken());
        }
        let position = Position::from_prefix(known).ok_or_else(taken)?;
        let text = transaction.get(&self.keys.own(owner, position)).await?;
        Ok(text.map(|text| (position, text)))
    }

    async fn write(
        &self,
        transaction: &Transaction,
        owner: &str,
        entry: &NewEntry,
        text: &[u8],
        is_large: bool,
    ) -> Result<(), Error> {
        let keys = &self.keys;
        let mut known = vec![0; STAMP_BYTES];
        known.extend_from_slice(&entry.hash().to_le_bytes());
        known.extend_from_slice(&0_u32.to_le_bytes());
        transaction.set_versionstamped_value(&keys.id(owner, &entry.id), &known)?;
        transaction.set_versionstamped_key(&keys.new_own(owner), text)?;
        transaction.add(&keys.posted(owner), &ONE)?;
        transaction.add(&keys.changes(owner), &Changes::POSTED.to_bytes())?;
        if is_large {
            return Ok(());
        }
        let arrived = Changes::ARRIVED.to_bytes();
        let mut followers = transaction.rows(keys.followers_of(owner));
        while let Some(row) = followers.next().await? {
            let follower = keys.follower_named(&row.key);
            transaction.set_versionstamped_key(&keys.new_line(&follower), text)?;
            transaction.add(&keys.changes(&follower), &arrived)?;
        }
        Ok(())
    }
}
