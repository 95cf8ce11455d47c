//! What goes into a queue, and what comes out.
//!
//! Plain data. Invariant: a lease names its row, so only its holder can end it.

use std::time::Duration;

use bytes::Bytes;

use super::keys::State;
use crate::layers::id::Id;

/// Work to push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub(super) body: Bytes,
    pub(super) delay: Duration,
}

impl Item {
    /// An item that is ready at once. `body` has at most [`crate::limits::VALUE_BYTES_MAX`] bytes.
    #[must_use]
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), delay: Duration::ZERO }
    }

    /// The item, visible to consumers after `delay` by the clock of the producer.
    #[must_use]
    pub fn delayed(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }
}

/// An item that a consumer has for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "an item that is not acknowledged comes again when its lease ends"]
pub struct Lease {
    pub(super) id: Id,
    pub(super) body: Bytes,
    /// As in the item's row.
    pub(super) state: State,
    pub(super) until_ms: u64,
}

impl Lease {
    /// The item's id.
    #[must_use]
    pub fn id(&self) -> Id {
        self.id
    }

    /// The item's body.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// How often the item was leased, this time included. Never the same for two leases of an
    /// item, so it serves as a fencing token.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.state.attempts
    }

    /// When the lease ends, in milliseconds since 1970 by the clock of this consumer.
    #[must_use]
    pub fn until_ms(&self) -> u64 {
        self.until_ms
    }
}
