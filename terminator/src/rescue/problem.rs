//! The body of an error response: problem details, RFC 9457.
//!
//! Owns: the members and their order. Does not: choose any of their values.

use std::borrow::Cow;
use std::time::SystemTime;

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;
use serde::ser::SerializeMap;

use super::Refusal;
use crate::limits::RETRY_AFTER_SECONDS;

/// The media type of RFC 9457 section 6.1.
pub(super) const CONTENT_TYPE: &str = "application/problem+json";

/// One problem.
#[derive(Clone, Debug)]
pub struct Problem<'a> {
    /// The last part of `type`, a URN: `urn:terminator:problem:REASON`.
    pub reason: &'static str,
    /// The same for every problem of this type.
    pub title: &'static str,
    /// The HTTP status.
    pub status: StatusCode,
    /// What happened this time.
    pub detail: String,
    /// The limit that was hit: bytes, requests, connections, or milliseconds, as the detail says.
    pub limit: Option<u64>,
    /// What to do.
    pub remedy: &'static str,
    /// The request's id; empty when there was no request.
    pub request_id: &'a str,
    /// The request's path; empty when there was no request.
    pub instance: &'a str,
}

impl Serialize for Problem<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", &format_args!("urn:terminator:problem:{}", self.reason))?;
        map.serialize_entry("title", self.title)?;
        map.serialize_entry("status", &self.status.as_u16())?;
        map.serialize_entry("detail", &self.detail)?;
        if let Some(limit) = self.limit {
            map.serialize_entry("limit", &limit)?;
        }
        map.serialize_entry("remedy", self.remedy)?;
        if !self.request_id.is_empty() {
            map.serialize_entry("request_id", self.request_id)?;
        }
        if !self.instance.is_empty() {
            map.serialize_entry("instance", self.instance)?;
        }
        map.end()
    }
}

impl Problem<'_> {
    /// The body.
    #[must_use]
    pub fn to_json(&self) -> Bytes {
        let mut body = serde_json::to_vec(self).expect("a map of strings and numbers is always JSON");
        body.push(b'\n');
        body.into()
    }
}

/// A whole response for a connection that has no request: status line, headers, body, and the end of the connection.
#[must_use]
pub fn bare(refusal: &Refusal) -> Vec<u8> {
    let problem = refusal.problem();
    let body = problem.to_json();
    let retry: Cow<'static, str> = match problem.status {
        StatusCode::SERVICE_UNAVAILABLE => format!("retry-after: {RETRY_AFTER_SECONDS}\r\n").into(),
        _ => "".into(),
    };
    let head = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: {CONTENT_TYPE}\r\ncontent-length: {}\r\n{retry}connection: close\r\ndate: {}\r\n\r\n",
        problem.status.as_str(),
        problem.status.canonical_reason().unwrap_or("Error"),
        body.len(),
        httpdate::fmt_http_date(SystemTime::now()),
    );
    [head.as_bytes(), &body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_the_members_of_rfc_9457() {
        let mut problem = Refusal::BodyTooLarge { limit: 10 }.problem();
        problem.request_id = "r1";
        problem.instance = "/a\"b";
        let json: serde_json::Value = serde_json::from_slice(&problem.to_json()).unwrap();
        assert_eq!(json["type"], "urn:terminator:problem:body_too_large");
        assert_eq!(json["status"], 413);
        assert_eq!(json["limit"], 10);
        assert_eq!(json["request_id"], "r1");
        assert_eq!(json["instance"], "/a\"b");
        assert!(json["remedy"].as_str().unwrap().contains("--body-limit"));
    }

    #[test]
    fn a_bare_response_has_the_length_it_says_and_closes() {
        let text = String::from_utf8(bare(&Refusal::Connections { limit: 7 })).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{head}");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
        assert!(head.contains("connection: close") && head.contains("retry-after: 1"), "{head}");
    }
}
