//! Why another service gave no usable answer, and what the client is told.
//!
//! Owns reasons (words for programs) and problems. `routes` decides whether the page is shown
//! without the part.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use service_host::Problem;
use service_host::bus::RequestError;

/// Time after which a service that is gone may be back: the stack restarts a dead service within
/// it.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why there is no usable answer.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
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

impl Failure {
    /// The reason as a word for programs.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Unclaimed | Self::Request(RequestError::NoInstance { .. }) => "no-instance",
            Self::Request(RequestError::Busy { .. } | RequestError::Pending { .. }) => "busy",
            Self::Request(RequestError::Deadline { .. }) => "deadline",
            Self::Request(RequestError::Lost { .. }) => "lost",
            Self::Request(_) => "request",
            Self::Status(..) => "status",
            Self::NotJson => "not-json",
            Self::TooLarge(_) => "too-large",
        }
    }

    /// The problem when the page cannot be shown without `service`.
    pub(crate) fn problem(&self, service: &'static str) -> Problem {
        let reason = self.reason();
        match self {
            Self::Unclaimed => {
                let detail = format!("No instance of `{service}` has ever joined the bus; start one.");
                Problem::new(503, detail).reason(reason).retry_after(RETRY_AFTER)
            }
            Self::Request(error @ RequestError::Deadline { .. }) => {
                Problem::new(504, format!("There is {error}.")).reason(reason)
            }
            Self::Request(error @ RequestError::Encode(_)) => {
                Problem::new(400, format!("`{service}` cannot be asked: {error}.")).reason(reason)
            }
            Self::Request(error) => {
                Problem::new(503, sentence(error)).reason(reason).retry_after(RETRY_AFTER)
            }
            Self::Status(status @ (400..=499 | 503 | 504), body) => passed_on(*status, body, service),
            Self::Status(status, _) => {
                Problem::new(502, format!("`{service}` answered {status}.")).reason(reason)
            }
            Self::NotJson => Problem::new(502, format!("`{service}` answered with a body that is not JSON."))
                .reason(reason),
            Self::TooLarge(limit) => {
                let detail = format!("`{service}` answered with more than {limit} bytes.");
                Problem::new(502, detail).reason(reason).limit(*limit as u64)
            }
        }
    }
}

fn sentence(error: &RequestError) -> String {
    let mut text = error.to_string();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text + "."
}

/// The fields that web reads in another service's problem.
#[derive(Default, Deserialize)]
struct Theirs {
    detail: Option<String>,
    field: Option<String>,
    limit: Option<u64>,
    reason: Option<String>,
}

/// Passes on the text of a refusal that the client can act on.
fn passed_on(status: u16, body: &[u8], service: &str) -> Problem {
    let theirs: Theirs = serde_json::from_slice(body).unwrap_or_default();
    let detail = theirs.detail.unwrap_or_else(|| format!("`{service}` answered {status}."));
    let mut problem =
        Problem::new(status, detail).reason(theirs.reason.unwrap_or_else(|| "status".to_owned()));
    if let Some(field) = theirs.field {
        problem = problem.field(field);
    }
    if let Some(limit) = theirs.limit {
        problem = problem.limit(limit);
    }
    if status == 503 { problem.retry_after(RETRY_AFTER) } else { problem }
}

#[cfg(test)]
mod tests {
    use service_host::IntoResponse;

    use super::*;

    #[test]
    fn who_is_gone_is_named_with_a_reason_and_a_time() {
        let failure = Failure::Request(RequestError::NoInstance { service: "profile".to_owned() });
        let response = failure.problem("profile").into_response();
        let text = String::from_utf8(response.body_bytes().to_vec()).unwrap();
        assert_eq!((response.status(), response.header_value("retry-after")), (503, Some(&b"1"[..])));
        assert!(
            text.contains("No instance of `profile` is connected") && text.contains("no-instance"),
            "{text}"
        );
    }

    #[test]
    fn refusals_keep_their_words_and_errors_become_a_502() {
        let body = br#"{"title":"Bad Request","detail":"an id has 1 to 200 bytes","field":"id","limit":200}"#;
        let refusal = Failure::Status(400, Bytes::from_static(body)).problem("profile").into_response();
        let text = String::from_utf8(refusal.body_bytes().to_vec()).unwrap();
        assert!(text.contains("an id has 1 to 200") && text.contains("\"limit\":200"), "{text}");
        assert_eq!(Failure::Status(500, Bytes::new()).problem("profile").status(), 502);
        let late = RequestError::Deadline { service: "profile".to_owned() };
        assert_eq!(Failure::Request(late).problem("profile").status(), 504);
    }
}
