//! The settings of a queue, and its bounds.
//!
//! Plain data. Invariant: every bound has its reason beside it.

use std::time::Duration;

use crate::{
    layers::{backoff::Backoff, clock::Clock},
    options::RunOptions,
};

/// Items in one call. Bounds a transaction that reads bodies of 100 kB to some 25 MB.
pub const BATCH_MAX: usize = 256;

/// Bytes of the reason that is kept with a dead letter; longer ones are cut.
pub const REASON_BYTES_MAX: usize = 1_000;

/// The settings of a queue. Handles of one queue should agree on them, but need not.
#[derive(Debug, Clone)]
pub struct QueueOptions {
    /// How long a consumer has for an item before others get it; [`super::Queue::extend`] begins it
    /// anew. Default 30 s. Shorter means that the items of a dead consumer are done sooner, longer
    /// that a slow one is not overtaken.
    pub lease: Duration,
    /// Leases of an item before it becomes a dead letter. Default 10.
    pub attempts_max: u32,
    /// The pause before an item is leased again after [`super::Queue::retry`]. Default 1 s, then
    /// doubling up to 10 min: with `attempts_max` an item is tried for about 17 min.
    pub backoff: Backoff,
    /// The bounds of each transaction.
    pub run: RunOptions,
    /// Default: the machine's.
    pub clock: Clock,
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            attempts_max: 10,
            backoff: Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(600) },
            run: RunOptions::default(),
            clock: Clock::wall(),
        }
    }
}
