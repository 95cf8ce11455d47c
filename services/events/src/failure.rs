//! Why a request failed, and its status.
//!
//! Owns the mapping of errors to statuses. Other modules define the errors.

use std::time::Duration;

use service_host::{IntoResponse, Problem, Response};
use store::{Error, RetryError, StoreError};

use crate::{append::AppendError, invalid::Invalid, limits::CONDITION_ROWS_MAX, projections::PutError};

/// The problem for any error of a handler.
pub(crate) struct Failure(Problem);

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<Invalid> for Failure {
    fn from(invalid: Invalid) -> Self {
        let problem = Problem::new(if invalid.too_long { 413 } else { 422 }, format!("{invalid}."));
        let problem = problem.field(invalid.field);
        Self(match invalid.limit {
            Some(limit) => problem.limit(limit),
            None => problem,
        })
    }
}

impl From<AppendError> for Failure {
    fn from(error: AppendError) -> Self {
        let detail = format!("Nothing was appended: {error}.");
        Self(match error {
            AppendError::ConditionFailed { .. } => {
                Problem::new(409, detail).field("condition").reason("condition-failed")
            }
            AppendError::IdTaken { index, .. } => {
                Problem::new(409, detail).field(format!("events[{index}].id")).reason("id-taken")
            }
            AppendError::ConditionTooBroad => {
                Problem::new(422, detail).field("condition").limit(CONDITION_ROWS_MAX as u64)
            }
            AppendError::Store(error) => store_problem(&error),
        })
    }
}

impl From<PutError> for Failure {
    fn from(error: PutError) -> Self {
        Self(match error {
            PutError::Moved { .. } => {
                let detail = format!(
                    "Nothing was written: {error}. Read the projection and continue from its position."
                );
                Problem::new(409, detail).field("previous").reason("moved")
            }
            PutError::Store(error) => store_problem(&error),
        })
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(store_problem(&error))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

/// The response for an error of the store. Input was checked before, so an error that blames the
/// caller is our own fault.
fn store_problem(error: &Error) -> Problem {
    match error {
        Error::Store(StoreError::DeadlineExceeded { .. }) => {
            let detail =
                format!("The store took too long: {error}. Appends may be repeated with the same ids.");
            Problem::new(504, detail).reason("deadline")
        }
        Error::Retry(RetryError::CommitUnknownResult) => {
            Problem::new(503, "It may have been done; repeat it with the same ids to know.")
                .reason("maybe-committed")
        }
        Error::Retry(_) | Error::Store(StoreError::RetriesExhausted { .. }) => {
            let busy = Problem::new(503, format!("The store is busy: {error}."));
            busy.reason("busy").retry_after(Duration::from_secs(1))
        }
        Error::Caller(_) | Error::Store(_) => {
            tracing::error!(%error, source = ?std::error::Error::source(error), "the store failed");
            Problem::new(503, "The store has failed; the log of the service says why.").reason("store")
        }
    }
}
