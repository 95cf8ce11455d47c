//! Why another service gave no usable answer, and what the client is told.
//!
//! Owns the problem of each way in which a service fails; titles and reasons of the bus's errors
//! are the terminator's. `routes` decides whether the page is shown without the part.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use service_host::bus::RequestError;
use service_host::bus::proto::EncodeError;
use service_host::{Problem, ProblemType};

/// Time after which a service that is gone may be back: the stack restarts a dead service within
/// it.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// No service claims the route, or no instance of it is connected.
const NO_INSTANCE: ProblemType = ProblemType::new("no_instance", 503, "No instance")
    .remedy("retry later; start an instance of the service");

/// Every instance has as many requests as it takes.
const BUSY: ProblemType = ProblemType::new("busy", 503, "Every instance is busy")
    .remedy("retry later, or start more instances of the service");

/// This worker waits for as many replies as it may.
const PENDING: ProblemType =
    ProblemType::new("pending", 503, "Too many requests outstanding").remedy("retry later");

/// The service did not answer in time.
const DEADLINE: ProblemType = ProblemType::new("deadline", 504, "Deadline passed")
    .remedy("find out what the service waits for, or raise the terminator's --deadline");

/// The instance left before it answered.
const LOST: ProblemType = ProblemType::new("lost", 502, "Instance lost")
    .remedy("whether the request was carried out is not known: look before sending it again");

/// A header field or the path is longer than the bus transmits.
const HEAD_TOO_LARGE: ProblemType =
    ProblemType::new("head_too_large", 431, "Head too large").remedy("send a shorter path or header");

/// The message is longer than the bus transmits.
const BODY_TOO_LARGE: ProblemType =
    ProblemType::new("body_too_large", 413, "Body too large").remedy("send less");

/// An error of the bus that this version does not know.
const OTHER: ProblemType =
    ProblemType::new("other", 502, "Bus failure").remedy("retry; report it with the request id");

/// The service refused the request, without a reason; the status is the service's.
const REFUSED: ProblemType = ProblemType::new("refused", 400, "Refused by a service");

/// The service answered a status that this page has no use for.
const REPLY_STATUS: ProblemType =
    ProblemType::new("reply_status", 502, "Unexpected status").remedy("correct the service");

/// The service answered a body that is not JSON.
const REPLY_NOT_JSON: ProblemType =
    ProblemType::new("reply_not_json", 502, "Reply not JSON").remedy("correct the service");

/// The service answered a longer body than fits into a page.
const REPLY_TOO_LARGE: ProblemType =
    ProblemType::new("reply_too_large", 502, "Reply too large").remedy("correct the service");

/// Why there is no usable answer.
#[derive(Clone, Debug)]
pub(crate) enum AskError {
    /// No service ever claimed the route.
    Unclaimed,
    /// The bus returned no reply.
    Request(RequestError),
    /// A reply with a status other than 200, and its body.
    Status(u16, Bytes),
    /// A body that is not JSON.
    NotJson,
    /// A body longer than this many bytes.
    TooLarge(usize),
}

impl AskError {
    /// The reason as a word for programs.
    pub(crate) fn reason(&self) -> &'static str {
        self.kind().reason
    }

    /// The problem when the page cannot be shown without `service`.
    pub(crate) fn problem(&self, service: &'static str) -> Problem {
        let new = |detail: String| Problem::new(self.kind(), detail);
        let problem = match self {
            Self::Unclaimed => new(format!("No instance of `{service}` has ever joined the bus.")),
            Self::Request(RequestError::Encode(error)) => {
                new(format!("`{service}` cannot be asked: {error}."))
            }
            Self::Request(error) => Problem::because(self.kind(), error),
            Self::Status(status @ (400..=499 | 503 | 504), body) => passed_on(*status, body, service),
            Self::Status(status, _) => new(format!("`{service}` answered {status}.")),
            Self::NotJson => new(format!("`{service}` answered with a body that is not JSON.")),
            Self::TooLarge(limit) => {
                new(format!("`{service}` answered with more than {limit} bytes.")).limit(*limit as u64)
            }
        };
        if problem.status == 503 { problem.retry_after(RETRY_AFTER) } else { problem }
    }

    fn kind(&self) -> ProblemType {
        match self {
            Self::Unclaimed | Self::Request(RequestError::NoInstance { .. }) => NO_INSTANCE,
            Self::Request(RequestError::Busy { .. }) => BUSY,
            Self::Request(RequestError::Pending { .. }) => PENDING,
            Self::Request(RequestError::Deadline { .. }) => DEADLINE,
            Self::Request(RequestError::Lost { .. }) => LOST,
            Self::Request(RequestError::Encode(EncodeError::Field { .. })) => HEAD_TOO_LARGE,
            Self::Request(RequestError::Encode(EncodeError::TooLarge { .. })) => BODY_TOO_LARGE,
            Self::Request(_) => OTHER,
            Self::Status(..) => REPLY_STATUS,
            Self::NotJson => REPLY_NOT_JSON,
            Self::TooLarge(_) => REPLY_TOO_LARGE,
        }
    }
}

/// What is read of a problem in another dialect.
#[derive(Default, Deserialize)]
struct Foreign {
    detail: Option<String>,
    field: Option<String>,
    limit: Option<u64>,
}

/// The refusal of a service, because the client can act on it: its own problem, or what it says in
/// another dialect.
fn passed_on(status: u16, body: &[u8], service: &str) -> Problem {
    Problem::parse(body).filter(|problem| problem.status == status).unwrap_or_else(|| {
        let foreign: Foreign = serde_json::from_slice(body).unwrap_or_default();
        let detail = foreign.detail.unwrap_or_else(|| format!("`{service}` answered {status}."));
        let mut problem = Problem::new(ProblemType { status, ..REFUSED }, detail);
        if let Some(field) = foreign.field {
            problem = problem.field(field);
        }
        if let Some(limit) = foreign.limit {
            problem = problem.limit(limit);
        }
        problem
    })
}

#[cfg(test)]
mod tests {
    use service_host::IntoResponse;
    use service_host::problems::BAD_ID;

    use super::*;

    #[test]
    fn a_missing_service_is_named_with_a_reason_and_a_time() {
        let error = AskError::Request(RequestError::NoInstance { service: "profile".to_owned() });
        let response = error.problem("profile").into_response();
        let text = String::from_utf8(response.body_bytes().to_vec()).unwrap();
        assert_eq!((response.status(), response.header_value("retry-after")), (503, Some(&b"1"[..])));
        assert!(
            text.contains("No connected instance of `profile`") && text.contains("no_instance"),
            "{text}"
        );
    }

    #[test]
    fn refusals_are_passed_on_and_errors_become_a_502() {
        let refusal = Problem::new(BAD_ID, "An id has 1 to 200 bytes.").field("id").limit(200);
        let error = |status, body| AskError::Status(status, body).problem("profile");
        assert_eq!(error(400, refusal.to_json()), refusal);
        let foreign = Bytes::from_static(b"{\"title\":\"Conflict\",\"detail\":\"taken\"}");
        for (status, body, answered, reason, detail) in [
            (409, foreign, 409, "refused", "taken"),
            (404, refusal.to_json(), 404, "refused", "An id has 1 to 200 bytes."),
            (400, Bytes::new(), 400, "refused", "`profile` answered 400."),
            (500, refusal.to_json(), 502, "reply_status", "`profile` answered 500."),
        ] {
            let problem = error(status, body);
            assert_eq!((problem.status, &*problem.reason, &*problem.detail), (answered, reason, detail));
        }
        let late = RequestError::Deadline { service: "profile".to_owned() };
        assert_eq!(AskError::Request(late).problem("profile").status, 504);
    }
}
