//! Every bound of the store, with its reason. Those of FoundationDB have FoundationDB's value and meaning, so
//! that what works on the embedded backend works there: <https://apple.github.io/foundationdb/known-limitations.html>.

use std::time::Duration;

/// Longest key, in bytes (FoundationDB: `key_too_large`).
pub const KEY_BYTES_MAX: usize = 10_000;

/// Longest value, in bytes (FoundationDB: `value_too_large`).
pub const VALUE_BYTES_MAX: usize = 100_000;

/// Keys and values written plus both ends of every conflict range, in bytes, summed over one transaction, with some
/// 50 bytes for each write and 24 for each read (FoundationDB: `transaction_too_large`).
pub const TRANSACTION_BYTES_MAX: usize = 10_000_000;

/// Age at which a transaction can neither read nor commit, counted from its first read (FoundationDB:
/// `transaction_too_old`). It bounds how much history conflict detection keeps.
pub const TRANSACTION_AGE_MAX: Duration = Duration::from_secs(5);

/// First byte of the keys that belong to the store itself; users' keys sort before it (FoundationDB:
/// `key_outside_legal_range`).
pub const SYSTEM_KEY_PREFIX: u8 = 0xff;

/// Watches that wait at once, over all transactions of a store (FoundationDB's default: 10 000).
pub const WATCHES_MAX: usize = 10_000;

/// How long [`crate::Store::open`] waits for a FoundationDB cluster, and [`crate::Store::get`] for a value from it.
pub const CLUSTER_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of a versionstamp that the store fills in: commit version (8) and order within its group (2),
/// both big-endian.
pub const STAMP_BYTES: usize = 10;

/// Rows in one batch of a range read: bounds how long a worker stays inside one poll.
pub const BATCH_ROWS_MAX: usize = 256;

/// Bytes of keys and values after which a batch of a range read ends, for the same reason.
pub const BATCH_BYTES_MAX: usize = 256 * 1024;

/// How far a key selector may step from its key: each step is a row read.
pub const SELECTOR_OFFSET_MAX: i32 = 10_000;

/// First pause of [`crate::Store::run`] after a conflict; doubles each time.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(1);

/// Longest pause between two attempts (FoundationDB's `max_retry_delay` is 1 s; the embedded store answers in
/// microseconds, so waiting that long would only waste the caller's deadline).
pub const BACKOFF_MAX: Duration = Duration::from_millis(100);

/// Commits that wait for the committer at once; more are refused as retryable.
pub const COMMIT_QUEUE_LEN_MAX: usize = 16_384;

/// Bytes of commits that wait at once: bounds memory while the disk is slow.
pub const COMMIT_QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Commits in one group: the order within a group is 16 bits of the versionstamp.
pub const GROUP_LEN_MAX: usize = 4_096;

/// Bytes of one group: bounds the journal write that all its commits wait for.
pub const GROUP_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Writes that conflict detection remembers, their keys and 16 bytes each; when more would be needed, the oldest are
/// forgotten and transactions that began before them get `transaction_too_old`.
pub const CONFLICT_WRITES_MAX: usize = 2_000_000;
