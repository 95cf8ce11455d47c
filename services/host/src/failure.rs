//! Why a handler gives no answer.
//!
//! Owns one error type for the handlers of all services, and the problem of each error of the
//! store. A service adds `From` for its own errors.

use role::problem::Problem;

use crate::id::BadId;
use crate::response::{IntoResponse, Response};

/// The error of a handler: a problem that `?` makes of any error that a handler meets.
#[derive(Debug)]
pub struct Failure(Problem);

impl Failure {
    /// The problem that the client is answered.
    #[must_use]
    pub fn into_problem(self) -> Problem {
        self.0
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<BadId> for Failure {
    fn from(bad: BadId) -> Self {
        Self(bad.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

/// Input is checked before it reaches the store, so an error that blames the caller is the
/// service's own fault.
#[cfg(feature = "store")]
impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        use store::{Error, RetryError, StoreError};

        use crate::problems::{MAYBE_COMMITTED, STORE_BUSY, STORE_DEADLINE, STORE_FAILED};

        Self(match &error {
            Error::Store(StoreError::DeadlineExceeded { .. }) => {
                Problem::new(STORE_DEADLINE, format!("The store took too long: {error}."))
            }
            Error::Retry(RetryError::CommitUnknownResult) => {
                Problem::new(MAYBE_COMMITTED, "The change may have been made.")
            }
            Error::Retry(_) | Error::Store(StoreError::RetriesExhausted { .. }) => {
                let busy = Problem::new(STORE_BUSY, format!("The store is busy: {error}."));
                busy.retry_after(std::time::Duration::from_secs(1))
            }
            Error::Caller(_) | Error::Store(_) => {
                tracing::error!(%error, source = ?std::error::Error::source(&error), "the store failed");
                Problem::new(STORE_FAILED, "The store has failed; the log of the service says why.")
            }
        })
    }
}
