//! Conversations in the store: posting, pages, and changes after a position.
//!
//! Owns the transactions on messages. Read markers are in `markers`, waking polls is in `hub`.
//! Invariant: a message, its client id and the conversation's newest change are one commit. Posts
//! never read the keys that every message of a conversation writes, so posts do not conflict.

use bytes::Bytes;
use store::{Error, Position, RunOptions, Snapshot, Store, Transaction, Watch, limits::STAMP_BYTES};

use crate::keys::{Keys, shard_of};
use crate::message::NewMessage;

/// A placeholder that the commit replaces by its versionstamp.
const STAMP_HERE: [u8; STAMP_BYTES + 4] = [0; STAMP_BYTES + 4];

/// Most messages in one answer to a poll; a client that was away longer polls again at once.
pub(crate) const NEWS_MAX: usize = 75;

/// Bytes of messages after which a page ends: with the last message it still fits into one bus
/// message.
const PAGE_BYTES_MAX: usize = 512 * 1024;

/// The conversations of a store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Conversations {
    pub(crate) store: Store,
    pub(crate) keys: Keys,
}

/// Why a conversation could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// The client id already names another message.
    #[error("the id {id:?} belongs to a message with another text or author")]
    IdTaken {
        /// The client id.
        id: String,
    },
    /// An error of the store.
    #[error(transparent)]
    Store(#[from] Error),
}

/// A message that was posted, now or earlier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// The message's position.
    pub position: Position,
    /// The message's JSON text as it is stored.
    pub message: Bytes,
    /// False when the message was posted earlier.
    pub is_new: bool,
}

/// A message and its position.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) position: Position,
    pub(crate) message: Bytes,
}

/// A member's marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    pub(crate) member: String,
    /// The member has read everything at and before this position.
    pub(crate) read: Position,
}

/// Messages, the newest first.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) messages: Vec<Told>,
    /// The position before which the next page begins.
    pub(crate) next: Option<Position>,
    /// The conversation's newest change when the page was read. Polls continue from it.
    pub(crate) last: Position,
}

/// Changes after a position, the oldest first.
#[derive(Debug)]
pub(crate) struct News {
    pub(crate) messages: Vec<Told>,
    pub(crate) markers: Vec<Marker>,
    /// All changes up to this position are included.
    pub(crate) upto: Position,
}

enum Outcome {
    New(store::CommitStamp),
    Known(Position, Bytes),
}

impl Conversations {
    /// The conversations in `store`.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store, keys: Keys::new() }
    }

    /// Posts a message; repeating it with the same id has no further effect.
    ///
    /// # Errors
    /// [`ChatError::IdTaken`], and errors of the store.
    ///
    /// # Cancel safety
    /// The message is posted completely or not at all.
    pub async fn post(
        &self,
        chat: &str,
        message: &NewMessage,
        at_ms: u64,
        options: &RunOptions,
    ) -> Result<Posted, ChatError> {
        let text = Bytes::from(message.stored(at_ms));
        // The id makes a second attempt harmless, whatever the outcome of the first.
        let options = options.idempotent();
        let work = async |transaction: &Transaction| {
            if let Some((position, message)) = self.known(transaction, chat, message).await? {
                return Ok(Outcome::Known(position, message));
            }
            let mut known = vec![0; STAMP_BYTES];
            known.extend_from_slice(&message.hash().to_le_bytes());
            known.extend_from_slice(&0_u32.to_le_bytes());
            transaction.set_versionstamped_value(&self.keys.id(chat, &message.id), &known)?;
            transaction.set_versionstamped_key(&self.keys.new_message(chat), &text)?;
            self.touch(transaction, chat)?;
            Ok::<_, ChatError>(Outcome::New(transaction.versionstamp()))
        };
        Ok(match self.store.run(&options, work).await? {
            Outcome::New(stamp) => Posted { position: stamp.await?.into(), message: text, is_new: true },
            Outcome::Known(position, message) => Posted { position, message, is_new: false },
        })
    }

    /// At most `limit` messages before `before`; fewer when they are long.
    pub(crate) async fn page(
        &self,
        chat: &str,
        before: Option<Position>,
        limit: usize,
        options: &RunOptions,
    ) -> Result<Page, Error> {
        let before = before.unwrap_or(Position::LAST);
        let work = async |snapshot: Snapshot<'_>| {
            let last = self.newest_change(snapshot, chat);
            // One more row shows whether more messages follow.
            let range = self.keys.messages_between(chat, Position::FIRST, before).reversed().limit(limit + 1);
            let messages = Self::messages(snapshot, range, limit);
            let (last, (messages, more)) = tokio::try_join!(last, messages)?;
            let next = messages.last().filter(|_| more).map(|told| told.position);
            Ok::<_, Error>(Page { messages, next, last })
        };
        self.store.read(options, work).await
    }

    /// Changes after `after`.
    pub(crate) async fn news(
        &self,
        chat: &str,
        after: Position,
        options: &RunOptions,
    ) -> Result<News, Error> {
        let work = async |snapshot: Snapshot<'_>| {
            let last = self.newest_change(snapshot, chat);
            let range = self.keys.messages_between(chat, after, Position::LAST).limit(NEWS_MAX + 1);
            let messages = Self::messages(snapshot, range, NEWS_MAX);
            let markers = self.marked_after(snapshot, chat, after);
            let (last, (messages, more), markers) = tokio::try_join!(last, messages, markers)?;
            // Changes after the last message that fits are left out; they belong to the next
            // answer.
            let upto = messages.last().filter(|_| more).map_or(last, |told| told.position);
            let (mut messages, (markers, upto)) = (messages, Marker::upto(&markers, after, upto));
            messages.retain(|told| told.position <= upto);
            Ok::<_, Error>(News { messages, markers, upto: upto.max(after) })
        };
        self.store.read(options, work).await
    }

    /// The position of the newest change; [`Position::FIRST`] when there is none.
    pub(crate) async fn last(&self, chat: &str) -> Result<Position, Error> {
        Ok(Self::position(self.store.get(&self.keys.last(chat)).await?))
    }

    /// A watch that fires at the next change of any conversation in `shard`.
    pub(crate) async fn watch(&self, shard: u64) -> Result<Watch, Error> {
        let key = self.keys.shard(shard);
        self.store.run(&RunOptions::default(), async |transaction| transaction.watch(&key)).await
    }

    /// Makes this transaction's commit the conversation's newest change.
    pub(crate) fn touch(&self, transaction: &Transaction, chat: &str) -> Result<(), Error> {
        transaction.set_versionstamped_value(&self.keys.last(chat), &STAMP_HERE)?;
        transaction.set_versionstamped_value(&self.keys.shard(shard_of(chat)), &STAMP_HERE)
    }

    async fn newest_change(&self, snapshot: Snapshot<'_>, chat: &str) -> Result<Position, Error> {
        Ok(Self::position(snapshot.get(&self.keys.last(chat)).await?))
    }

    /// The message that was posted earlier with this id.
    async fn known(
        &self,
        transaction: &Transaction,
        chat: &str,
        message: &NewMessage,
    ) -> Result<Option<(Position, Bytes)>, ChatError> {
        let Some(known) = transaction.get(&self.keys.id(chat, &message.id)).await? else { return Ok(None) };
        let taken = || ChatError::IdTaken { id: message.id.clone() };
        if known.get(STAMP_BYTES..) != Some(&message.hash().to_le_bytes()[..]) {
            return Err(taken());
        }
        let position = Position::from_prefix(&known).ok_or_else(taken)?;
        let text = transaction.get(&self.keys.message(chat, position)).await?;
        Ok(text.map(|text| (position, text)))
    }

    /// At most `limit` messages of a range that allows one more, and true when more follow.
    async fn messages(
        snapshot: Snapshot<'_>,
        range: store::Range,
        limit: usize,
    ) -> Result<(Vec<Told>, bool), Error> {
        let (mut messages, mut bytes) = (Vec::new(), 0);
        let mut rows = snapshot.rows(range);
        while let Some(row) = rows.next().await? {
            if messages.len() == limit || bytes >= PAGE_BYTES_MAX {
                return Ok((messages, true));
            }
            bytes += row.value.len();
            messages.push(Told { position: Position::of_key(&row.key), message: row.value });
        }
        Ok((messages, false))
    }

    fn position(value: Option<Bytes>) -> Position {
        value.as_deref().and_then(Position::from_prefix).unwrap_or(Position::FIRST)
    }
}
