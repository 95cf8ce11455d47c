//! The keys of a topic, under its subspace.
//!
//! | key | value |
//! | --- | --- |
//! | `(0, id)` | a message: its time in milliseconds (8 bytes, little-endian), and its body |
//! | `(1, subscriber)` | a cursor: the id up to which the subscriber has acknowledged |
//! | `(2)` | the id up to which messages were trimmed |
//! | `(3, n)` | 0 the number of messages, 1 the bytes of their bodies; 8 bytes, little-endian |
//! | `(4)` | changes with every publication |
//!
//! Invariant: keys of the first list end with the id.

use bytes::Bytes;

use crate::{
    layers::id::Id,
    range::Range,
    tuple::{Subspace, Versionstamp},
};

/// Bytes before a message's body.
pub(super) const TIME_BYTES: usize = 8;

/// Builds keys.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    log: Subspace,
    cursors: Subspace,
    pub(super) trimmed: Vec<u8>,
    pub(super) messages: Vec<u8>,
    pub(super) bytes: Vec<u8>,
    pub(super) changes: Vec<u8>,
}

impl Keys {
    pub(super) fn under(all: &Subspace) -> Self {
        Self {
            log: all.subspace(&(0,)),
            cursors: all.subspace(&(1,)),
            trimmed: all.pack(&(2,)),
            messages: all.pack(&(3, 0)),
            bytes: all.pack(&(3, 1)),
            changes: all.pack(&(4,)),
        }
    }

    pub(super) fn new_message(&self, stamp: &Versionstamp) -> Vec<u8> {
        self.log.pack_with_versionstamp(&(stamp,))
    }

    pub(super) fn message(&self, id: Id) -> Vec<u8> {
        self.log.pack(&(id.stamp(),))
    }

    /// The first key of the log.
    pub(super) fn log_begin(&self) -> Vec<u8> {
        self.log.range().0
    }

    /// Messages after `id`.
    pub(super) fn after(&self, id: Id) -> Range {
        Range::subspace(&self.log).after(self.message(id))
    }

    pub(super) fn cursor(&self, subscriber: &str) -> Vec<u8> {
        self.cursors.pack(&(subscriber,))
    }

    pub(super) fn all_cursors(&self) -> Range {
        Range::subspace(&self.cursors)
    }

    /// The subscriber of a cursor's key; `None` for another key.
    pub(super) fn subscriber_of(&self, key: &[u8]) -> Option<String> {
        self.cursors.unpack::<(String,)>(key).ok().map(|(subscriber,)| subscriber)
    }
}

/// A message's row.
pub(super) fn row(at_ms: u64, body: &[u8]) -> Vec<u8> {
    [&at_ms.to_le_bytes()[..], body].concat()
}

/// The time and the body in a row; a damaged row is of time 0 and empty.
pub(super) fn parse(mut row: Bytes) -> (u64, Bytes) {
    match row.first_chunk().copied() {
        Some(time) => (u64::from_le_bytes(time), row.split_off(TIME_BYTES)),
        None => (0, Bytes::new()),
    }
}
