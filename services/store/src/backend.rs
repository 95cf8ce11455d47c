//! The operations of a backend. One file implements them, and `Store::open` has one arm for it.
//!
//! The calls correspond to FoundationDB's, so that its client can serve them directly: reads and
//! commits may answer later, writes are buffered, ranges are read in batches, and `on_error`
//! decides about another attempt. Limits of keys and values are checked before a call arrives here.
//!
//! Invariant: reads see the transaction's own writes.

use std::path::Path;

use bytes::Bytes;

use crate::{
    answer::Answer,
    backup::{Backup, BackupError},
    error::{Error, RetryError},
    options::RunOptions,
    range::{KeySelector, Range, RangeBatch},
    watch::{CommitStamp, Watch},
};

/// Selects whether a read is checked for conflicts when the transaction commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reads {
    /// Checked: the commit fails when another transaction wrote there after the read version.
    Conflicting,
    /// Not checked.
    Snapshot,
}

/// What a transaction may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// [`crate::Store::read`]: the transaction cannot write, watch or get a stamp, so there is
    /// nothing to commit.
    ReadOnly,
    /// [`crate::Store::run`].
    ReadWrite,
}

/// A place that stores keys.
pub(crate) trait Backend: Send + Sync {
    /// A new transaction. It has no read version until the first read.
    fn begin(&self, options: &RunOptions, access: Access) -> Box<dyn BackendTransaction>;

    /// The newest committed value of one key.
    fn get<'a>(&'a self, key: &'a [u8]) -> Answer<'a, Option<Bytes>>;

    /// Copies the store to the new directory `to`. Blocks.
    fn backup(&self, to: &Path) -> Result<Backup, BackupError>;
}

/// One transaction, through all its attempts.
pub(crate) trait BackendTransaction {
    /// The version that this transaction reads at.
    fn read_version(&self) -> Answer<'_, u64>;

    /// The value of `key`.
    fn get(&self, key: &[u8], reads: Reads) -> Answer<'_, Option<Bytes>>;

    /// The key that `selector` names: empty before the first key, `[0xff]` after the last.
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

    /// Sets a key into which the commit writes its versionstamp; the key's last 4 bytes are the
    /// stamp's offset.
    fn set_versionstamped_key(&self, key: &[u8], value: &[u8]) -> Result<(), Error>;

    /// Sets a value into which the commit writes its versionstamp; the value's last 4 bytes are the
    /// stamp's offset.
    fn set_versionstamped_value(&self, key: &[u8], value: &[u8]) -> Result<(), Error>;

    /// The versionstamp of this attempt's commit.
    fn versionstamp(&self) -> CommitStamp;

    /// Waits, once this attempt is committed, until the value of `key` differs from its value in
    /// this attempt.
    fn watch(&self, key: &[u8]) -> Result<Watch, Error>;

    /// Commits this attempt.
    fn commit(&mut self) -> Answer<'_, ()>;

    /// Pauses, then starts the next attempt: without writes or reads, and with a new read version.
    fn on_error(&mut self, error: RetryError) -> Answer<'_, ()>;
}
