//! The form of an answer: JSON, text, or a problem (RFC 9457).
//!
//! Owns: headers and media types. Invariant: nothing is cached.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde::Serialize;
use serde_json::Value;

use crate::problem::{MEDIA_TYPE, Problem};

pub(super) type Answer = Response<Full<Bytes>>;

pub(super) fn json(value: &impl Serialize) -> Answer {
    let mut body = serde_json::to_vec(value).expect("reports have string keys and finite numbers");
    body.push(b'\n');
    respond(StatusCode::OK, "application/json", Vec::new(), body.into())
}

pub(super) fn text(media_type: &'static str, body: Vec<u8>) -> Answer {
    respond(StatusCode::OK, media_type, Vec::new(), body.into())
}

/// An error, with `more` members.
pub(super) fn problem(problem: &Problem, more: Value) -> Answer {
    let mut members = serde_json::to_value(problem).expect("a problem is a JSON object");
    if let (Value::Object(members), Value::Object(more)) = (&mut members, more) {
        members.extend(more);
    }
    let mut body = members.to_string();
    body.push('\n');
    let status = StatusCode::from_u16(problem.status).expect("the statuses of problems are valid");
    let mut response = respond(status, MEDIA_TYPE, Vec::new(), body.into());
    if let Some(seconds) = problem.retry_after_seconds() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(methods) = &problem.allow {
        let methods = HeaderValue::from_maybe_shared(methods.clone()).expect("methods are tokens");
        response.headers_mut().insert(header::ALLOW, methods);
    }
    response
}

/// An answer with `more` headers, whose values are valid.
pub(super) fn respond(
    status: StatusCode,
    media_type: &'static str,
    more: Vec<(HeaderName, String)>,
    body: Bytes,
) -> Answer {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    extend(&mut response, more);
    response
}

/// Adds `more` headers, whose values are valid.
pub(super) fn extend(response: &mut Answer, more: Vec<(HeaderName, String)>) {
    for (name, value) in more {
        let value = HeaderValue::try_from(value).expect("the caller has checked it");
        response.headers_mut().insert(name, value);
    }
}
