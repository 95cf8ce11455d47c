//! Why a request failed, as the client is told.
//!
//! Owns the status of each error. Fields are checked in `message` and `routes`.

use std::time::{Duration, Instant};

use service_host::{IntoResponse, Problem, Request, Response};
use store::{Error, RetryError, RunOptions, StoreError};

use crate::conversations::ChatError;

/// A problem, or an error that becomes one.
pub(crate) enum Failure {
    Problem(Problem),
    Chat(ChatError),
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<ChatError> for Failure {
    fn from(error: ChatError) -> Self {
        Self::Chat(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Chat(ChatError::Store(error))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let problem = match self {
            Self::Problem(problem) => problem,
            Self::Chat(ChatError::Store(error)) => store_problem(&error),
            Self::Chat(error @ ChatError::IdTaken { .. }) => {
                Problem::new(409, format!("The {}; give a new message an id of its own.", tail(&error)))
                    .field("id")
                    .reason("id-taken")
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
fn tail(error: &ChatError) -> String {
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
        Error::Caller(_) | Error::Store(_) => {
            tracing::error!(%error, source = ?std::error::Error::source(error), "the store failed");
            Problem::new(503, "The store has failed; the log of the service says why.").reason("store")
        }
    }
}
