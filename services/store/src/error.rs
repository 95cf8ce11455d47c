//! Errors, grouped by blame: the caller, a conflict that a retry may resolve, or the store.
//!
//! FoundationDB's error numbers are given beside the variants of the same meaning.

use std::{path::PathBuf, time::Duration};

use crate::limits;

/// Why a transaction did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is wrong; another attempt gives the same error.
    #[error(transparent)]
    Caller(#[from] CallerError),
    /// Another attempt may succeed; [`crate::Store::run`] makes it.
    #[error(transparent)]
    Retry(#[from] RetryError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Error {
    /// True when the transaction may have taken effect although it failed.
    #[must_use]
    pub fn is_maybe_committed(&self) -> bool {
        match self {
            Self::Caller(_) => false,
            Self::Retry(error) => error.is_maybe_committed(),
            Self::Store(error) => error.is_maybe_committed(),
        }
    }
}

/// A request that can't be carried out as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallerError {
    /// 2102 `key_too_large`.
    #[error("key of {len} bytes, the limit is {}: shorten the key", limits::KEY_BYTES_MAX)]
    KeyTooLarge {
        /// Length of the key, in bytes.
        len: usize,
    },
    /// The engine has no empty key; no FoundationDB tuple packs to one.
    #[error("the empty key can't be read or written: give the key a prefix")]
    KeyEmpty,
    /// 2004 `key_outside_legal_range`.
    #[error("key starts with 0xff, which belongs to the store: choose another prefix")]
    KeyOutsideLegalRange,
    /// 2103 `value_too_large`.
    #[error("value of {len} bytes, the limit is {}: split it over several keys", limits::VALUE_BYTES_MAX)]
    ValueTooLarge {
        /// Length of the value, in bytes.
        len: usize,
    },
    /// 2101 `transaction_too_large`.
    #[error(
        "transaction of {len} bytes (keys, values and conflict ranges), the limit is {}: \
         split it into several transactions",
        limits::TRANSACTION_BYTES_MAX
    )]
    TransactionTooLarge {
        /// Bytes that the transaction would have had.
        len: usize,
    },
    /// 2005 `inverted_range`.
    #[error("range ends before it begins: swap its ends")]
    InvertedRange,
    /// 2006 `invalid_range_limits`, for selectors.
    #[error("key selector steps {offset} keys, the limit is {}: read a range", limits::SELECTOR_OFFSET_MAX)]
    SelectorOffset {
        /// The requested offset.
        offset: i32,
    },
    /// 2000 `client_invalid_operation`: the last 4 bytes of a versionstamped key or value are the
    /// little-endian offset of the 10-byte stamp.
    #[error(
        "versionstamp at offset {offset} does not fit into {len} bytes: pack with \
         `pack_with_versionstamp` and one incomplete versionstamp"
    )]
    StampOffset {
        /// Offset from the last 4 bytes, or 0 when they are missing.
        offset: usize,
        /// Bytes before the offset.
        len: usize,
    },
    /// 1036 `accessed_unreadable`. The attempt can't be committed any more.
    #[error(
        "read of a key that this transaction writes with a versionstamp: it has no value before the commit"
    )]
    AccessedUnreadable,
    /// 1032 `too_many_watches`.
    #[error(
        "{} watches wait already: drop some, or watch one key that sums up the others",
        limits::WATCHES_MAX
    )]
    TooManyWatches,
    /// [`crate::Transaction::next_stamp`] counts in the 2 bytes that a versionstamp has for it.
    #[error("{} stamps in one transaction already: split it into several", limits::STAMPS_MAX)]
    TooManyStamps,
    /// 2021 `no_commit_version`.
    #[error("the transaction wrote nothing, so it has no versionstamp")]
    NoCommitVersion,
    /// 1025 `transaction_cancelled`: the transaction of a watch or a stamp never committed.
    #[error("the transaction was not committed")]
    NotCommitted,
}

/// A failure that another attempt may not meet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RetryError {
    /// 1020 `not_committed`.
    #[error("another transaction changed what this one had read")]
    Conflict,
    /// 1007 `transaction_too_old`.
    #[error(
        "transaction is older than {:?}: read less in one transaction, and go on in the next",
        limits::TRANSACTION_AGE_MAX
    )]
    TooOld,
    /// 1021 `commit_unknown_result`: the transaction may have been committed, or may still be.
    #[error("the connection was lost during the commit: it may have taken effect, or not")]
    CommitUnknownResult,
    /// 1038 `database_locked`.
    #[error(
        "the database is locked, by a restore or by an operator: wait, or see `lock` and `unlock` of fdbcli"
    )]
    Locked,
    /// 1037 `process_behind`, 1009 `future_version` and similar: the cluster is catching up.
    #[error("the store can't serve this version yet: {reason}")]
    Behind {
        /// The store's message.
        reason: String,
    },
    /// The committer's queue is full ([`limits::COMMIT_QUEUE_LEN_MAX`],
    /// [`limits::COMMIT_QUEUE_BYTES_MAX`]).
    #[error("{len} commits of {bytes} bytes wait for the disk already: write less at once")]
    Busy {
        /// Number of waiting commits.
        len: usize,
        /// Their bytes.
        bytes: usize,
    },
}

impl RetryError {
    /// True when the transaction may have taken effect although it failed.
    #[must_use]
    pub fn is_maybe_committed(&self) -> bool {
        matches!(self, Self::CommitUnknownResult)
    }
}

/// A failure of the store, or a timeout.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// [`crate::RunOptions::timeout`] passed.
    #[error(
        "no success within {timeout:?} and {attempts} attempts{}",
        if *maybe_committed { "; it may have taken effect" } else { "" }
    )]
    DeadlineExceeded {
        /// The time limit.
        timeout: Duration,
        /// Attempts begun.
        attempts: u32,
        /// True when a commit was in progress when the time ran out.
        maybe_committed: bool,
        /// The failure of the last completed attempt; `None` when the first one took too long.
        #[source]
        last: Option<RetryError>,
    },
    /// [`crate::RunOptions::retries_max`] attempts failed.
    #[error(
        "{attempts} attempts failed{}: give it more retries, or make the transactions that meet smaller",
        if *maybe_committed { ", one of which may have taken effect" } else { "" }
    )]
    RetriesExhausted {
        /// Attempts made.
        attempts: u32,
        /// True when one of the attempts may have taken effect.
        maybe_committed: bool,
        /// The failure of the last attempt.
        #[source]
        last: RetryError,
    },
    /// Reading failed.
    #[error("reading from the store failed")]
    Read(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Writing failed, and the write may be on the disk. The store opens its files anew by itself.
    #[error("the store failed to write: {reason}; it may have taken effect")]
    WriteFailed {
        /// The engine's message.
        reason: String,
    },
    /// The store takes no writes at the moment, so nothing was written: the disk is full, or its
    /// files could not be opened since a write failed. It takes writes again by itself.
    #[error("the store takes no writes now: {reason}")]
    Unwritable {
        /// What is missing.
        reason: String,
    },
    /// FoundationDB's client reported an error without a variant here:
    /// <https://apple.github.io/foundationdb/api-error-codes.html>.
    #[error("FoundationDB failed: {message} (error {code})")]
    Cluster {
        /// FoundationDB's error number.
        code: i32,
        /// The client's message for it.
        message: &'static str,
        /// True when the error occurred in a commit whose outcome is unknown.
        maybe_committed: bool,
    },
    /// The store was closed while the commit waited; it did not take effect.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// True when the transaction may have taken effect although it failed.
    #[must_use]
    pub fn is_maybe_committed(&self) -> bool {
        match self {
            Self::DeadlineExceeded { maybe_committed, .. }
            | Self::RetriesExhausted { maybe_committed, .. }
            | Self::Cluster { maybe_committed, .. } => *maybe_committed,
            Self::WriteFailed { .. } => true,
            Self::Read(_) | Self::Unwritable { .. } | Self::Closed => false,
        }
    }
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another handle in this one, has the store open.
    #[error("store {} is open already: one process at a time; stop the other or give another directory", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory can't be created or used.
    #[error("store directory {} can't be used: check its permissions and its file system", dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// The contents of the directory can't be read.
    #[error("store in {} can't be opened: if it is damaged, restore a copy", dir.display())]
    Engine {
        /// The directory.
        dir: PathBuf,
        /// The engine's error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store belongs to another service.
    #[error(
        "store {store} belongs to {found}, not to {asked}: give {asked} a directory of its own, or clear the store \
         when its contents are not needed"
    )]
    OwnedByOther {
        /// The directory or the cluster file.
        store: String,
        /// The owner in its stamp, or its first key when it has no stamp.
        found: String,
        /// The service that was to open it.
        asked: &'static str,
    },
    /// The store belongs to the same service, but was written with another layout.
    #[error(
        "store {store} was written by {found}, and this program is {asked}: run the version of the service that wrote \
         it, or clear the service's keys and load them again"
    )]
    LayoutDiffers {
        /// The directory or the cluster file.
        store: String,
        /// The owner in its stamp.
        found: String,
        /// The owner that was to open it.
        asked: String,
    },
    /// The cluster file does not exist.
    #[error(
        "cluster file {} is missing: copy it from a server of the cluster, usually /etc/foundationdb/fdb.cluster",
        cluster_file.display()
    )]
    ClusterFileMissing {
        /// Its path.
        cluster_file: PathBuf,
    },
    /// The cluster file can't be read.
    #[error("cluster file {} can't be read: check its permissions", cluster_file.display())]
    ClusterFileUnreadable {
        /// Its path.
        cluster_file: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// The contents are not those of a cluster file.
    #[error(
        "cluster file {} says `{found}`, which names no cluster: it must be one line like `prod:x7Qk2@10.0.0.1:4500`; \
         copy it from a server of the cluster",
        cluster_file.display()
    )]
    ClusterFileMalformed {
        /// Its path.
        cluster_file: PathBuf,
        /// Its contents, shortened.
        found: String,
    },
    /// 2203 `api_version_not_supported`: the client library is older than the one that this program
    /// was built for.
    #[error(
        "libfdb_c.so speaks API versions up to {newest}, {wanted} is needed: install FoundationDB's client library \
         of the cluster's version, at least {}.{}",
        wanted / 100, wanted / 10 % 10
    )]
    ApiVersion {
        /// The version that this program uses.
        wanted: i32,
        /// The newest version of the library.
        newest: i32,
    },
    /// The cluster did not answer.
    #[error(
        "no answer from the FoundationDB cluster of {} within {timeout:?}: check that its coordinators ({coordinators}) \
         run and can be reached from here, that `fdbcli -C {} --exec status` calls it available, and that libfdb_c.so \
         has the cluster's major and minor version",
        cluster_file.display(), cluster_file.display()
    )]
    Unreachable {
        /// Path of the cluster file.
        cluster_file: PathBuf,
        /// The addresses in it.
        coordinators: String,
        /// The time limit.
        timeout: Duration,
    },
    /// The database is locked (1038 `database_locked`), or its client refused an option of the
    /// address.
    #[error("FoundationDB cluster of {} can't be used", cluster_file.display())]
    Cluster {
        /// Path of the cluster file.
        cluster_file: PathBuf,
        /// The client's error.
        #[source]
        source: Box<Error>,
    },
    /// FoundationDB's client did not start.
    #[error("FoundationDB's client did not start: {message} (error {code})")]
    Client {
        /// FoundationDB's error number.
        code: i32,
        /// The client's message for it.
        message: &'static str,
    },
    /// A FoundationDB store was opened without a [`crate::Network`]: a fault of the program.
    #[error(
        "this program can't stop FoundationDB's client before it exits: its `main` must hold a `store::Network` \
         until it returns"
    )]
    NetworkUnguarded,
    /// The last [`crate::Network`] of the process is gone.
    #[error(
        "FoundationDB's client was stopped in this process and can't be started again: start the program anew"
    )]
    NetworkStopped,
    /// The address names a backend that this build does not have.
    #[error(
        "store `{address}` needs the feature `{feature}`, which this build lacks: \
         build with `--features {feature}`, or use `embedded:DIR`"
    )]
    FeatureMissing {
        /// The address.
        address: String,
        /// The feature of this crate.
        feature: &'static str,
    },
}
