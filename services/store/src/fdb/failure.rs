//! The meaning of FoundationDB's error numbers for a caller.
//!
//! Known numbers are mapped first; for the rest the client's own predicates decide, so that a newer
//! client's new retryable errors are retried.
//! <https://apple.github.io/foundationdb/api-error-codes.html>
//!
//! Invariant: an error of a commit that may have taken effect says so; an error of a read never
//! does.

use std::time::Duration;

use foundationdb::FdbError;

use crate::{
    error::{CallerError, Error, RetryError, StoreError},
    limits,
    options::RunOptions,
};

const TRANSACTION_TOO_OLD: i32 = 1007;
const NOT_COMMITTED: i32 = 1020;
const COMMIT_UNKNOWN_RESULT: i32 = 1021;
const TRANSACTION_CANCELLED: i32 = 1025;
const TRANSACTION_TIMED_OUT: i32 = 1031;
const TOO_MANY_WATCHES: i32 = 1032;
const ACCESSED_UNREADABLE: i32 = 1036;
const PROCESS_BEHIND: i32 = 1037;
const DATABASE_LOCKED: i32 = 1038;
const CLUSTER_VERSION_CHANGED: i32 = 1039;
const OPERATION_CANCELLED: i32 = 1101;
const NO_COMMIT_VERSION: i32 = 2021;
const TRANSACTION_TOO_LARGE: i32 = 2101;

/// The operation that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum During {
    /// Anything but a commit: nothing of the attempt has taken effect.
    Read,
    /// A commit: it may have taken effect.
    Commit,
}

/// The run that an error belongs to.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// The time limit.
    pub(crate) timeout: Duration,
    /// Attempts begun.
    pub(crate) attempts: u32,
    /// Bytes of this attempt, as [`crate::size`] counts them.
    pub(crate) bytes: usize,
    /// True when an earlier attempt may have been committed.
    pub(crate) maybe_committed: bool,
    /// The failure of the previous attempt.
    pub(crate) last: Option<RetryError>,
}

impl Run {
    /// A run that has just begun.
    pub(crate) fn new(options: &RunOptions) -> Self {
        Self { timeout: options.timeout, attempts: 1, bytes: 0, maybe_committed: false, last: None }
    }

    /// A single read with the database's own timeout.
    pub(crate) fn point() -> Self {
        Self::new(&RunOptions::within(limits::CLUSTER_TIMEOUT))
    }
}

/// The error that the caller of `run` gets for `error`.
pub(crate) fn explained(error: FdbError, during: During, run: &Run) -> Error {
    let committing = during == During::Commit;
    match error.code() {
        NOT_COMMITTED => RetryError::Conflict.into(),
        TRANSACTION_TOO_OLD => RetryError::TooOld.into(),
        COMMIT_UNKNOWN_RESULT | CLUSTER_VERSION_CHANGED if committing => {
            RetryError::CommitUnknownResult.into()
        }
        DATABASE_LOCKED => RetryError::Locked.into(),
        TRANSACTION_TIMED_OUT => StoreError::DeadlineExceeded {
            timeout: run.timeout,
            attempts: run.attempts,
            maybe_committed: committing || run.maybe_committed,
            last: run.last.clone(),
        }
        .into(),
        // The client counts slightly differently, so it may refuse what our count accepted.
        TRANSACTION_TOO_LARGE => {
            CallerError::TransactionTooLarge { len: run.bytes.max(limits::TRANSACTION_BYTES_MAX + 1) }.into()
        }
        ACCESSED_UNREADABLE => CallerError::AccessedUnreadable.into(),
        TOO_MANY_WATCHES => CallerError::TooManyWatches.into(),
        NO_COMMIT_VERSION => CallerError::NoCommitVersion.into(),
        _ if error.is_retryable() => RetryError::Behind { reason: error.message().to_owned() }.into(),
        code => {
            let unknown = committing && matches!(code, TRANSACTION_CANCELLED | OPERATION_CANCELLED);
            let maybe_committed = unknown || run.maybe_committed;
            StoreError::Cluster { code, message: error.message(), maybe_committed }.into()
        }
    }
}

/// The error of a watch that cannot fire. Its transaction may have ended long ago.
pub(crate) fn of_watch(error: FdbError) -> Error {
    match error.code() {
        // Whether or not its transaction was committed, the watch was not set.
        TRANSACTION_CANCELLED | NOT_COMMITTED | COMMIT_UNKNOWN_RESULT | TRANSACTION_TIMED_OUT => {
            CallerError::NotCommitted.into()
        }
        _ => explained(error, During::Read, &Run::point()),
    }
}

/// The error of a stamp that will never be known.
pub(crate) fn of_stamp(error: FdbError) -> Error {
    match error.code() {
        NO_COMMIT_VERSION => CallerError::NoCommitVersion.into(),
        _ => CallerError::NotCommitted.into(),
    }
}

/// The number to pass to `on_error` when the failure did not come from FoundationDB.
pub(crate) fn number(failure: &RetryError) -> FdbError {
    FdbError::from_code(match failure {
        RetryError::Conflict => NOT_COMMITTED,
        RetryError::TooOld => TRANSACTION_TOO_OLD,
        RetryError::CommitUnknownResult => COMMIT_UNKNOWN_RESULT,
        RetryError::Locked => DATABASE_LOCKED,
        RetryError::Behind { .. } | RetryError::Busy { .. } => PROCESS_BEHIND,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explain(code: i32, during: During) -> Error {
        explained(FdbError::from_code(code), during, &Run::point())
    }

    #[test]
    fn only_a_commit_may_have_happened() {
        for code in
            [COMMIT_UNKNOWN_RESULT, CLUSTER_VERSION_CHANGED, TRANSACTION_TIMED_OUT, OPERATION_CANCELLED]
        {
            assert!(explain(code, During::Commit).is_maybe_committed(), "{code}");
            assert!(!explain(code, During::Read).is_maybe_committed(), "{code}");
        }
        for code in [NOT_COMMITTED, TRANSACTION_TOO_OLD, DATABASE_LOCKED, TRANSACTION_TOO_LARGE] {
            assert!(!explain(code, During::Commit).is_maybe_committed(), "{code}");
        }
    }

    #[test]
    fn an_unknown_commit_before_makes_a_timeout_unknown() {
        let run = Run { maybe_committed: true, ..Run::point() };
        assert!(
            explained(FdbError::from_code(TRANSACTION_TIMED_OUT), During::Read, &run).is_maybe_committed()
        );
    }

    #[test]
    fn a_failure_goes_to_on_error_as_the_number_that_it_came_with() {
        for code in [NOT_COMMITTED, TRANSACTION_TOO_OLD, COMMIT_UNKNOWN_RESULT, DATABASE_LOCKED] {
            let Error::Retry(failure) = explain(code, During::Commit) else { panic!("{code} is retryable") };
            assert_eq!(number(&failure).code(), code);
        }
    }
}
