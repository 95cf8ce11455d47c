//! Errors as the client sees them: `application/problem+json` (RFC 9457).
//!
//! Owns: the JSON members and the status's title. Does not own: what went wrong; a service turns its own errors
//! into problems with `From`.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use crate::response::{IntoResponse, Response};

/// An error answer that names what was wrong, the limit that was hit and what to do.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}: {}", .0.status, .0.detail)]
pub struct Problem(Box<Parts>);

/// Boxed: results that carry a problem stay small on the road where there is none.
#[derive(Clone, Debug, Default)]
struct Parts {
    status: u16,
    detail: Cow<'static, str>,
    field: Option<Cow<'static, str>>,
    limit: Option<u64>,
    reason: Option<Cow<'static, str>>,
    retry_after: Option<Duration>,
    allow: Option<Bytes>,
}

impl Problem {
    /// A problem with an HTTP status of 400 to 599 and a sentence for people.
    pub fn new(status: u16, detail: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Parts { status, detail: detail.into(), ..Parts::default() }))
    }

    /// Names the field, parameter or header that is wrong.
    #[must_use]
    pub fn field(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.0.field = Some(name.into());
        self
    }

    /// Names the limit in force.
    #[must_use]
    pub fn limit(mut self, limit: u64) -> Self {
        self.0.limit = Some(limit);
        self
    }

    /// A word for programs, e.g. `no-instance`.
    #[must_use]
    pub fn reason(mut self, word: impl Into<Cow<'static, str>>) -> Self {
        self.0.reason = Some(word.into());
        self
    }

    /// Says when to try again: `Retry-After`, in whole seconds, rounded up.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.0.status
    }

    /// The sentence for people.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The status's name.
    #[must_use]
    pub fn title(&self) -> &'static str {
        title(self.0.status)
    }

    pub(crate) fn allow(mut self, methods: Bytes) -> Self {
        self.0.allow = Some(methods);
        self
    }
}

/// The members of the JSON object; `type` is left out, which means `about:blank`.
#[derive(Serialize)]
struct Members<'a> {
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let parts = *self.0;
        let members = Members {
            title: title(parts.status),
            status: parts.status,
            detail: &parts.detail,
            field: parts.field.as_deref(),
            limit: parts.limit,
            reason: parts.reason.as_deref(),
        };
        let body = serde_json::to_vec(&members).expect("strings and numbers are always JSON");
        let mut response = Response::new(parts.status)
            .header("content-type", Bytes::from_static(b"application/problem+json"))
            .header("cache-control", Bytes::from_static(b"no-store"))
            .body(body);
        if let Some(wait) = parts.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response = response.header("retry-after", seconds.to_string());
        }
        if let Some(methods) = parts.allow {
            response = response.header("allow", methods);
        }
        response
    }
}

/// The reason phrase of a status (RFC 9110, section 15).
fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        409 => "Conflict",
        410 => "Gone",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Content",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        507 => "Insufficient Storage",
        _ if status < 500 => "Client Error",
        _ => "Server Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_field_limit_and_when_to_retry() {
        let problem = Problem::new(413, "too much").field("body").limit(9).reason("size");
        let response = problem.retry_after(Duration::from_millis(1500)).into_response();
        assert_eq!(response.status(), 413);
        assert_eq!(response.header_value("retry-after"), Some(&b"2"[..]));
        assert_eq!(response.header_value("content-type"), Some(&b"application/problem+json"[..]));
        let members: serde_json::Value = serde_json::from_slice(response.body_bytes()).unwrap();
        let expected = serde_json::json!({
            "title": "Content Too Large", "status": 413, "detail": "too much",
            "field": "body", "limit": 9, "reason": "size",
        });
        assert_eq!(members, expected);
    }
}
