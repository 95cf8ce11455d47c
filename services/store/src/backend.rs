//! What a backend does. One file implements it; `Store::open` gets one more arm.
//!
//! The calls are FoundationDB's, one for one, so that its client can serve them without a layer between:
//! reads and commits may answer later, writes are buffered, ranges come in batches, and `on_error` decides
//! about another attempt. Key and value limits were checked before a call gets here.
//!
//! Invariant: reads see the transaction's own writes.

use bytes::Bytes;

use crate::{
    answer::Answer,
    error::{Error, RetryError},
    options::RunOptions,
    range::{KeySelector, Range, RangeBatch},
    watch::{CommitStamp, Watch},
};

/// Whether a read is checked for conflicts when the transaction commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reads {
    /// Checked: the commit fails if someone wrote there after the read version.
    Conflicting,
    /// Not checked.
    Snapshot,
}

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// [`crate::Store::read`]: it gives out no write, no watch and no stamp, so that there is nothing to commit.
    ReadOnly,
    /// [`crate::Store::run`].
    ReadWrite,
}

/// A place that holds keys.
pub(crate) trait Backend: Send + Sync {
    /// A new transaction. Takes no read version before the first read.
    fn begin(&self, options: &RunOptions, access: Access) -> Box<dyn BackendTransaction>;

    /// The newest committed value of one key.
    fn get<'a>(&'a self, key: &'a [u8]) -> Answer<'a, Option<Bytes>>;
}

/// One transaction, through all its attempts.
pub(crate) trait BackendTransaction {
    /// The version that this transaction reads at.
    fn read_version(&self) -> Answer<'_, u64>;

    /// The value of `key`.
    fn get(&self, key: &[u8], reads: Reads) -> Answer<'_, Option<Bytes>>;

    /// The key that `selector` means: empty when before the first key, `[0xff]` when after the last.
    fn select(&self, selector: &KeySelector, reads: Reads) -> Answer<'_, Bytes>;

    /// The next batch of `range`.
    fn range(&self, range: &Range, reads: Reads) -> Answer<'_, RangeBatch>;

    /// Sets `key` to `value`.
    fn set(&self, key: &[u8], value: &[u8]) -> Result<(), Error>;

    /// Removes `key`.
    fn clear(&self, key: &[u8]) -> Result<(), Error>;

    /// Removes all keys from `begin` to before `end`.
    fn clear_range(&self, begin: &[u8], end: &[u8]) -> Result<(), Error>;

    /// Adds `operand` to the value as little-endian integers of the operand's length.
    fn add(&self, key: &[u8], operand: &[u8]) -> Result<(), Error>;

    /// Sets a key into which the commit puts its versionstamp; the last 4 bytes say where.
    fn set_versionstamped_key(&self, key: &[u8], value: &[u8]) -> Result<(), Error>;

    /// Sets a value into which the commit puts its versionstamp; the last 4 bytes say where.
    fn set_versionstamped_value(&self, key: &[u8], value: &[u8]) -> Result<(), Error>;

    /// The versionstamp that the commit of this attempt will have.
    fn versionstamp(&self) -> CommitStamp;

    /// Waits, once this attempt is committed, for the value of `key` to differ from what it is here.
    fn watch(&self, key: &[u8]) -> Result<Watch, Error>;

    /// Commits this attempt.
    fn commit(&mut self) -> Answer<'_, ()>;

    /// Pauses, then makes this the next attempt: no writes, no reads, a new read version.
    fn on_error(&mut self, error: RetryError) -> Answer<'_, ()>;
}
