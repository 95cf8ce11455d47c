//! One subscriber's reading of a topic: catching up, then waiting.
//!
//! Owns where the subscriber reads, which is in memory and ahead of its cursor in the store.
//! Invariant: when nothing was there to read, the watch is of the same moment, so a message that is
//! published afterwards fires it.

use bytes::Bytes;

use super::{
    keys::parse,
    topic::{PubsubError, SUBSCRIBER_BYTES_MAX, Start, Topic, check_batch, trimmed},
};
use crate::{
    error::Error,
    layers::{id::Id, number},
    transaction::Transaction,
    watch::Watch,
};

/// A message of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its place in the topic.
    pub id: Id,
    /// When it was published, in milliseconds since 1970 by the clock of the publisher.
    pub at_ms: u64,
    /// Its body.
    pub body: Bytes,
}

/// Messages that were trimmed before the subscriber read them: those after `after` up to `upto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The last place that the subscriber had read.
    pub after: Id,
    /// The last place that was trimmed.
    pub upto: Id,
}

/// What a subscriber read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// Set when messages before these were trimmed unread.
    pub gap: Option<Gap>,
    /// The messages, in order.
    pub messages: Vec<Message>,
}

impl Batch {
    /// The place to acknowledge after all of the batch was handled, the gap included; `None` when
    /// the batch is empty.
    #[must_use]
    pub fn last(&self) -> Option<Id> {
        self.messages.last().map(|message| message.id).or(self.gap.map(|gap| gap.upto))
    }
}

/// A subscriber of a topic. Several handles of the same name each read every message, and move the
/// same cursor.
#[derive(Debug)]
pub struct Subscription {
    topic: Topic,
    name: String,
    /// Up to where this handle has read.
    read: Id,
}

impl Topic {
    /// Subscribes as `name`, or continues where `name` acknowledged last: `start` is for a name
    /// that has no cursor.
    ///
    /// # Errors
    /// [`PubsubError::Name`], [`PubsubError::Store`].
    ///
    /// # Cancel safety
    /// Dropping the future makes the cursor or not.
    pub async fn subscribe(&self, name: &str, start: Start) -> Result<Subscription, PubsubError> {
        match name.len() {
            1..=SUBSCRIBER_BYTES_MAX => {}
            len => return Err(PubsubError::Name { len }),
        }
        let key = self.keys.cursor(name);
        let subscribe = async |tx: &Transaction| {
            if let Some(cursor) = tx.get(&key).await? {
                return Ok(Id::of_value(&cursor).unwrap_or(Id::FIRST));
            }
            let cursor = match start {
                // What is trimmed already is no gap for a new subscriber.
                Start::Oldest => trimmed(tx.snapshot().get(&self.keys.trimmed).await?.as_deref()),
                Start::Now => Id::newest_at(tx.read_version().await?),
            };
            tx.set(&key, cursor.as_bytes())?;
            Ok::<_, Error>(cursor)
        };
        let cursor = self.store.run(&self.run.idempotent(), subscribe).await?;
        Ok(Subscription { topic: self.clone(), name: name.to_owned(), read: cursor })
    }
}

impl Subscription {
    /// Up to `max` messages after those that this handle read last; empty when there are none.
    ///
    /// # Errors
    /// [`PubsubError::Batch`], [`PubsubError::Store`].
    ///
    /// # Cancel safety
    /// Dropping the future skips nothing.
    pub async fn next(&mut self, max: usize) -> Result<Batch, PubsubError> {
        Ok(self.look(max, false).await?.0)
    }

    /// As [`Subscription::next`], but waits until there is a message or a gap.
    ///
    /// # Errors
    /// As for [`Subscription::next`]; [`crate::CallerError::TooManyWatches`].
    ///
    /// # Cancel safety
    /// Dropping the future skips nothing.
    pub async fn wait(&mut self, max: usize) -> Result<Batch, PubsubError> {
        loop {
            match self.look(max, true).await? {
                (_, Some(changed)) => number::changed_or_due(changed, None).await?,
                (batch, None) => return Ok(batch),
            }
        }
    }

    /// Moves the cursor: everything up to `upto` is handled and is not read again after a restart.
    /// A cursor that is further already stays.
    ///
    /// # Errors
    /// [`PubsubError::Unsubscribed`], [`PubsubError::Store`].
    ///
    /// # Cancel safety
    /// Dropping the future moves the cursor or not.
    pub async fn ack(&self, upto: Id) -> Result<(), PubsubError> {
        self.topic.store.run(&self.topic.run.idempotent(), async |tx| self.ack_in(tx, upto).await).await
    }

    /// As [`Subscription::ack`], in the caller's transaction: what it writes besides is written
    /// exactly once when the transaction also checks that the cursor was before `upto`.
    ///
    /// # Errors
    /// As for [`Subscription::ack`].
    pub async fn ack_in(&self, tx: &Transaction, upto: Id) -> Result<(), PubsubError> {
        if self.cursor_in(tx).await? < upto {
            tx.set(&self.topic.keys.cursor(&self.name), upto.as_bytes())?;
        }
        Ok(())
    }

    /// The place up to which the subscriber has acknowledged, read in the caller's transaction.
    ///
    /// # Errors
    /// As for [`Subscription::ack`].
    pub async fn cursor_in(&self, tx: &Transaction) -> Result<Id, PubsubError> {
        let cursor = tx.get(&self.topic.keys.cursor(&self.name)).await?;
        let cursor = cursor.ok_or_else(|| PubsubError::Unsubscribed { name: self.name.clone() })?;
        Ok(Id::of_value(&cursor).unwrap_or(Id::FIRST))
    }

    /// Up to where this handle has read.
    #[must_use]
    pub fn position(&self) -> Id {
        self.read
    }

    /// What is there to read; a watch instead when there is nothing and `waits`.
    async fn look(&mut self, max: usize, waits: bool) -> Result<(Batch, Option<Watch>), PubsubError> {
        check_batch(max)?;
        let (keys, read) = (&self.topic.keys, self.read);
        let look = async |tx: &Transaction| {
            let snapshot = tx.snapshot();
            let range = keys.after(read).limit(max);
            let (trim, rows) = tokio::join!(snapshot.get(&keys.trimmed), snapshot.range(range));
            let (upto, rows) = (trimmed(trim?.as_deref()), rows?);
            let gap = (upto > read).then_some(Gap { after: read, upto });
            let message = |row: crate::KeyValue| {
                let (at_ms, body) = parse(row.value);
                Id::of_key(&row.key).map(|id| Message { id, at_ms, body })
            };
            let messages: Vec<_> = rows.into_iter().filter_map(message).collect();
            let is_empty = messages.is_empty() && gap.is_none();
            let changed = if is_empty && waits { Some(tx.watch(&keys.changes)?) } else { None };
            Ok::<_, Error>((Batch { gap, messages }, changed))
        };
        let (batch, changed) = self.topic.store.run(&self.topic.run, look).await?;
        self.read = batch.last().unwrap_or(self.read);
        if let Some(Gap { after, upto }) = batch.gap {
            tracing::warn!(subscriber = self.name, %after, %upto, "messages were trimmed before they were read");
        }
        Ok((batch, changed))
    }
}
