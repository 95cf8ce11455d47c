//! Why an operation of a queue did not succeed.
//!
//! Invariant: after any error no item is lost; it is where it was, or where the operation puts it.

use super::options::BATCH_MAX;
use crate::{error::Error, layers::id::Id};

/// An error of a queue.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// The lease is not the item's newest any more: it ended and another consumer has or had the
    /// item, or this consumer ended it before. What was done for the item will be, or was, done
    /// again.
    #[error(
        "the lease of item {id} in attempt {attempt} is lost, and the item is not affected: extend leases \
         before they end, or make them longer than the work takes"
    )]
    LeaseLost {
        /// The item.
        id: Id,
        /// The attempt that the lease was for.
        attempt: u32,
    },
    /// Too many items in one call, or none.
    #[error("{len} items in one call: give 1 to {BATCH_MAX}")]
    Batch {
        /// Items given or asked for.
        len: usize,
    },
    /// The store's error. When it may have been committed, a push may have pushed and a pop may
    /// have leased items until the end of their leases.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Checks the number of items in one call.
pub(super) fn check_batch(len: usize) -> Result<(), QueueError> {
    match len {
        1..=BATCH_MAX => Ok(()),
        _ => Err(QueueError::Batch { len }),
    }
}
