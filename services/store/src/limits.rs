//! Every bound of the store, with its reason. Bounds that FoundationDB has are equal here, so that
//! what works on the embedded backend works on FoundationDB:
//! <https://apple.github.io/foundationdb/known-limitations.html>.

use std::time::Duration;

/// Longest key, in bytes (FoundationDB: `key_too_large`).
pub const KEY_BYTES_MAX: usize = 10_000;

/// Longest value, in bytes (FoundationDB: `value_too_large`).
pub const VALUE_BYTES_MAX: usize = 100_000;

/// Keys and values written plus both ends of every conflict range, in bytes, summed over one
/// transaction, with some 50 bytes for each write and 24 for each read (FoundationDB:
/// `transaction_too_large`).
pub const TRANSACTION_BYTES_MAX: usize = 10_000_000;

/// Age at which a transaction can neither read nor commit, counted from its first read
/// (FoundationDB: `transaction_too_old`). Bounds the history that conflict detection keeps.
pub const TRANSACTION_AGE_MAX: Duration = Duration::from_secs(5);

/// First byte of the store's own keys; users' keys sort before it (FoundationDB:
/// `key_outside_legal_range`).
pub const SYSTEM_KEY_PREFIX: u8 = 0xff;

/// Waiting watches of all transactions of a store (FoundationDB's default: 10 000).
pub const WATCHES_MAX: usize = 10_000;

/// How long [`crate::Store::open`] waits for a FoundationDB cluster, and [`crate::Store::get`] for
/// a value from it.
pub const CLUSTER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long [`crate::Store::open`] waits for a FoundationDB cluster's status, which it only logs.
/// The client itself waits 2 s for coordinators and 2 s for the cluster's controller.
pub const CLUSTER_STATUS_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of a versionstamp that the store fills in: commit version (8) and order within its group
/// (2), both big-endian.
pub const STAMP_BYTES: usize = 10;

/// Stamps that [`crate::Transaction::next_stamp`] gives in one transaction: they are counted in the
/// 2 bytes that follow the 10.
pub const STAMPS_MAX: usize = 65_536;

/// Rows in one batch of a range read. Bounds how long a worker stays inside one poll.
pub const BATCH_ROWS_MAX: usize = 256;

/// Bytes of keys and values after which a batch of a range read ends, for the same reason.
pub const BATCH_BYTES_MAX: usize = 256 * 1024;

/// How far a key selector may step from its key. Each step reads a row.
pub const SELECTOR_OFFSET_MAX: i32 = 10_000;

/// First pause of [`crate::Store::run`] after a conflict; doubles each time.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(1);

/// Longest pause between two attempts. FoundationDB's `max_retry_delay` is 1 s; the embedded store
/// answers in microseconds, so a pause that long would waste the caller's deadline.
pub const BACKOFF_MAX: Duration = Duration::from_millis(100);

/// Commits waiting for the committer; more are refused as retryable.
pub const COMMIT_QUEUE_LEN_MAX: usize = 16_384;

/// Bytes of waiting commits. Bounds memory while the disk is slow.
pub const COMMIT_QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Commits in one group. The order within a group is 16 bits of the versionstamp.
pub const GROUP_LEN_MAX: usize = 4_096;

/// Bytes of one group. Bounds the journal write that all its commits wait for.
pub const GROUP_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Writes that conflict detection remembers, with their keys and 16 bytes each. Beyond this the
/// oldest are forgotten, and transactions that began before them get `transaction_too_old`.
pub const CONFLICT_WRITES_MAX: usize = 2_000_000;
