//! The body of an error response: problem details (RFC 9457), or the same as a page.
//!
//! Owns: the members and their order. Does not: choose any of their values.

use bytes::Bytes;
use http::StatusCode;
use maud::html;
use serde::Serialize;
use serde::ser::SerializeMap;

/// The media type of RFC 9457 section 6.1.
const JSON: &str = "application/problem+json";
/// That of the page.
const HTML: &str = "text/html; charset=utf-8";

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
    /// The media type and the body: a page when `as_html` is true, else JSON.
    #[must_use]
    pub fn body(&self, as_html: bool) -> (&'static str, Bytes) {
        if as_html { (HTML, self.to_html()) } else { (JSON, self.to_json()) }
    }

    fn to_html(&self) -> Bytes {
        let status = self.status.as_str();
        let page = html! {
            (maud::DOCTYPE)
            html lang="en" {
                head {
                    meta name="viewport" content="width=device-width";
                    title { (status) " " (self.title) }
                    style { "body{font:16px system-ui,sans-serif;margin:10vh auto;max-width:40em;padding:0 1em}dt{color:#777}dd{margin:0 0 1em}" }
                }
                body {
                    h1 { (status) " " (self.title) }
                    dl {
                        dt { "What happened" } dd { (self.detail) "." }
                        dt { "What helps" } dd { (self.remedy) "." }
                        @if !self.instance.is_empty() { dt { "Path" } dd { (self.instance) } }
                        @if !self.request_id.is_empty() { dt { "Request" } dd { code { (self.request_id) } } }
                    }
                }
            }
        };
        page.into_string().into()
    }

    /// The members as JSON.
    #[must_use]
    pub fn to_json(&self) -> Bytes {
        let mut body = serde_json::to_vec(self).expect("a map of strings and numbers is always JSON");
        body.push(b'\n');
        body.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rescue::Refusal;

    #[test]
    fn a_problem_has_the_members_of_rfc_9457() {
        let mut problem = Refusal::from(http1::Error::BodyTooLong { limit: 10 }).problem();
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
    fn a_page_escapes_what_its_client_sent() {
        let mut problem = Refusal::NoRoute.problem();
        problem.instance = "/<script>&\"";
        let (media, body) = problem.body(true);
        let page = std::str::from_utf8(&body).unwrap();
        assert_eq!(media, HTML);
        assert!(page.contains("/&lt;script&gt;&amp;") && !page.contains("<script"), "{page}");
        assert!(page.contains("404") && page.contains(problem.remedy), "{page}");
    }
}
