//! One request of a seed, and its form in a line.
//!
//! Owns the shape `{"method","path","body","wait"}`. Invariant: a [`Request`] can be sent: its
//! method is a token, its path is absolute.

use std::io::{self, Write};

use bytes::Bytes;
use http::Method;
use http::uri::PathAndQuery;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A request to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// GET is allowed, but has no use.
    pub method: Method,
    /// With the query, if any.
    pub path: PathAndQuery,
    /// JSON; empty for no body.
    pub body: Bytes,
    /// True when all earlier requests must be answered first, because this one depends on them.
    pub wait: bool,
}

/// The JSON of a line.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    method: &'a str,
    #[serde(borrow)]
    path: std::borrow::Cow<'a, str>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    body: Option<&'a RawValue>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    wait: bool,
}

impl Request {
    /// Checks method and path.
    ///
    /// # Errors
    /// What is wrong with method or path.
    pub fn new(method: &str, path: &str, body: impl Into<Bytes>) -> Result<Self, String> {
        let method = match Method::from_bytes(method.as_bytes()) {
            Ok(method) if !method.as_str().bytes().any(|byte| byte.is_ascii_lowercase()) => method,
            _ => return Err(format!("{method:?} is not a method such as PUT or POST")),
        };
        if !path.starts_with('/') {
            return Err(format!("the path {path:?} does not begin with /"));
        }
        let path = path.parse().map_err(|error| format!("the path {path:?}: {error}"))?;
        Ok(Self { method, path, body: body.into(), wait: false })
    }

    /// Reads a line.
    ///
    /// # Errors
    /// Why the line is not a request.
    pub fn read(line: &[u8]) -> Result<Self, String> {
        let line: Line<'_> = serde_json::from_slice(line).map_err(|error| {
            format!(
                "not a request ({error}); give {{\"method\":..,\"path\":..,\"body\":..}}, or --path for other objects"
            )
        })?;
        let body = line.body.map(|body| Bytes::copy_from_slice(body.get().as_bytes()));
        Ok(Self { wait: line.wait, ..Self::new(line.method, &line.path, body.unwrap_or_default())? })
    }

    /// Writes the request as a line.
    ///
    /// # Errors
    /// Errors of the writer; a body that is not JSON.
    pub fn write(&self, writer: &mut impl Write) -> io::Result<()> {
        let body =
            if self.body.is_empty() { None } else { Some(serde_json::from_slice::<&RawValue>(&self.body)?) };
        let (method, path) = (self.method.as_str(), self.path.as_str().into());
        serde_json::to_writer(&mut *writer, &Line { method, path, body, wait: self.wait })?;
        writer.write_all(b"\n")
    }

    /// Requests with the same subject, the first two segments of the path, keep their order.
    #[must_use]
    pub fn subject(&self) -> &str {
        let path = self.path.path();
        let end = path.match_indices('/').nth(2).map_or(path.len(), |(at, _)| at);
        &path[..end]
    }
}

#[cfg(test)]
mod tests {
    use super::Request;

    #[test]
    fn line_is_read_as_it_was_written() {
        for line in [
            r#"{"method":"PUT","path":"/profiles/m1","body":{"a" : 1.50}}"#,
            r#"{"method":"PUT","path":"/feeds/m1/read","wait":true}"#,
            r#"{"method":"POST","path":"/a%20b?x=%22","body":[]}"#,
        ] {
            let mut written = Vec::new();
            Request::read(line.as_bytes()).expect("is a request").write(&mut written).expect("writes");
            assert_eq!(String::from_utf8(written).expect("is UTF-8"), format!("{line}\n"));
        }
    }

    #[test]
    fn what_cannot_be_sent_is_refused_with_the_value() {
        for (line, wanted) in [
            ("", "EOF"),
            (r#"{"id":1}"#, "--path"),
            (r#"{"method":"put","path":"/a"}"#, "\"put\""),
            (r#"{"method":"PUT","path":"a"}"#, "\"a\""),
            (r#"{"method":"PUT","path":"/a b"}"#, "\"/a b\""),
            (r#"{"method":"PUT","path":"/a","bdy":1}"#, "bdy"),
        ] {
            let error = Request::read(line.as_bytes()).expect_err(line);
            assert!(error.contains(wanted), "{line}: {error}");
        }
    }

    #[test]
    fn subject_is_the_first_two_segments() {
        for (path, subject) in [
            ("/events", "/events"),
            ("/feeds/7", "/feeds/7"),
            ("/feeds/7?x=/y/z", "/feeds/7"),
            ("/feeds/7/follows/8", "/feeds/7"),
        ] {
            assert_eq!(Request::new("PUT", path, "").expect("is one").subject(), subject);
        }
    }
}
