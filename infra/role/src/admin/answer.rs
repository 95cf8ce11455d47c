//! The form of an answer: JSON, text, or a problem (RFC 9457).
//!
//! Owns: headers and media types. Invariant: nothing is cached; a 503 has `retry-after`.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde::Serialize;
use serde_json::{Value, json};

/// What a client is told to wait after a 503.
const RETRY_AFTER_SECONDS: u32 = 1;

pub(super) type Answer = Response<Full<Bytes>>;

pub(super) fn json(value: &impl Serialize) -> Answer {
    let mut body = serde_json::to_vec(value).expect("reports have string keys and finite numbers");
    body.push(b'\n');
    respond(StatusCode::OK, "application/json", body.into())
}

pub(super) fn text(media_type: &'static str, body: Vec<u8>) -> Answer {
    respond(StatusCode::OK, media_type, body.into())
}

/// An error that the listener answers, before it has a form.
pub(super) struct Refusal<'a> {
    pub(super) status: StatusCode,
    /// Stable, and the last part of `type`.
    pub(super) reason: &'static str,
    pub(super) title: &'static str,
    pub(super) detail: String,
    pub(super) remedy: &'static str,
    /// The role that answers, a part of `type`.
    pub(super) service: &'a str,
}

impl Refusal<'_> {
    /// The answer, with `more` members.
    pub(super) fn answer(self, more: Value) -> Answer {
        let mut problem = json!({
            "type": format!("urn:{}:problem:{}", self.service, self.reason),
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
            "reason": self.reason,
            "remedy": self.remedy,
        });
        if let (Value::Object(problem), Value::Object(more)) = (&mut problem, more) {
            problem.extend(more);
        }
        let mut body = problem.to_string();
        body.push('\n');
        let mut response = respond(self.status, "application/problem+json", body.into());
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        response
    }
}

fn respond(status: StatusCode, media_type: &'static str, body: Bytes) -> Answer {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
