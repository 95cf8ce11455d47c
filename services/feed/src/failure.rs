//! Why a request failed, as the client is told.
//!
//! Owns the status of each error. Fields are checked in `entry` and `routes`.

use std::time::{Duration, Instant};

use service_host::{IntoResponse, Problem, Request, Response};
use store::{CallerError, Error, RetryError, RunOptions, StoreError};

use crate::feeds::FeedError;

/// A problem, or an error that becomes one.
pub(crate) enum Failure {
    Problem(Problem),
    Feed(FeedError),
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<FeedError> for Failure {
    fn from(error: FeedError) -> Self {
        Self::Feed(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Feed(FeedError::Store(error))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let problem = match self {
            Self::Problem(problem) => problem,
            Self::Feed(FeedError::Store(error)) => store_problem(&error),
            Self::Feed(error @ FeedError::IdTaken { .. }) => {
                Problem::new(409, format!("The {}; give a new entry an id of its own.", tail(&error)))
                    .field("id")
                    .reason("id-taken")
            }
            Self::Feed(error @ FeedError::FollowsMax { limit }) => {
                Problem::new(409, format!("A {}; unfollow somebody first.", tail(&error)))
                    .field("other")
                    .limit(limit)
                    .reason("follows-max")
            }
        };
        problem.into_response()
    }
}

/// The time that the request has left, at most the store's own limit.
pub(crate) fn within(request: &Request) -> RunOptions {
    RunOptions::within_left(request.remaining(Instant::now()))
}

/// An error's text without its first word, for use inside a sentence.
fn tail(error: &FeedError) -> String {
    let text = error.to_string();
    text.split_once(' ').map_or_else(String::new, |(_, tail)| tail.to_owned())
}

/// The response for an error of the store. Ids and texts were checked before, so an error that
/// blames the caller is our own fault.
fn store_problem(error: &Error) -> Problem {
    let again = Duration::from_secs(1);
    match error {
        Error::Store(StoreError::DeadlineExceeded { .. }) => {
            Problem::new(504, format!("The store took too long: {error}.")).reason("deadline")
        }
        Error::Retry(RetryError::CommitUnknownResult) => {
            Problem::new(503, "The change may have been made; repeat it with the same id.")
                .reason("maybe-committed")
        }
        Error::Retry(_) | Error::Store(StoreError::RetriesExhausted { .. }) => {
            Problem::new(503, format!("The store is busy: {error}.")).reason("busy").retry_after(again)
        }
        Error::Caller(CallerError::TransactionTooLarge { .. }) => {
            tracing::error!(%error, "a fan-out is too large; a lower --fan-out-limit helps");
            Problem::new(503, "The entry has too many followers to be copied at once.").reason("store")
        }
        Error::Caller(_) | Error::Store(_) => {
            tracing::error!(%error, source = ?std::error::Error::source(error), "the store failed");
            Problem::new(503, "The store has failed; the log of the service says why.").reason("store")
        }
    }
}
