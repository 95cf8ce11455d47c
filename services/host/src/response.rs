//! What a handler answers.
//!
//! Owns the builders, and how a problem becomes a response. `visit` leaves out the body that
//! answers HEAD; the bus sends.

use std::borrow::Cow;

use bytes::Bytes;
use role::problem::{MEDIA_TYPE, Problem};
use serde::Serialize;

use crate::conditional::ETag;
use crate::problems::BAD_ANSWER;
use crate::request::Request;

/// Status, header fields and body. Only small bodies are copied when they are sent.
#[derive(Clone, Debug)]
pub struct Response {
    inner: bus::Response,
}

impl Response {
    /// An empty answer.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self { inner: bus::Response::new(status) }
    }

    /// 200 with `value` as JSON. A value that is not JSON (a map whose keys are not strings)
    /// becomes a 500.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self::raw_json(body),
            Err(error) => {
                tracing::error!(%error, "an answer cannot be written as JSON");
                Problem::new(BAD_ANSWER, "The answer cannot be written as JSON.").into_response()
            }
        }
    }

    /// 200 with a body that is JSON already.
    pub fn raw_json(body: impl Into<Bytes>) -> Self {
        Self::new(200).header("content-type", Bytes::from_static(b"application/json")).body(body)
    }

    /// 200 with an HTML page.
    pub fn html(body: impl Into<Bytes>) -> Self {
        Self::new(200).header("content-type", Bytes::from_static(b"text/html; charset=utf-8")).body(body)
    }

    /// 200 with plain text.
    pub fn text(body: impl Into<Bytes>) -> Self {
        Self::new(200).header("content-type", Bytes::from_static(b"text/plain; charset=utf-8")).body(body)
    }

    /// Another status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.inner.status = status;
        self
    }

    /// Adds a header field; `name` is lower case. Constant values want `Bytes::from_static`.
    #[must_use]
    pub fn header(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Bytes>) -> Self {
        self.inner = self.inner.field(name, value);
        self
    }

    /// Sets a header field and removes the fields of the same name.
    #[must_use]
    pub fn replace_header(mut self, name: &'static str, value: impl Into<Bytes>) -> Self {
        self.inner.fields.retain(|(found, _)| found != name);
        self.header(name, value)
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.inner = self.inner.body(body);
        self
    }

    /// Adds the body's strong ETag, and answers 304 without the body when `request` has it already.
    /// For answers to GET and HEAD.
    #[must_use]
    pub fn tagged(self, request: &Request) -> Self {
        let tag = ETag::of(&self.inner.body);
        self.tagged_as(tag, request)
    }

    /// As [`Response::tagged`], with the body's tag, which is known already.
    #[must_use]
    pub fn tagged_as(self, tag: ETag, request: &Request) -> Self {
        let mut response = self.header("etag", tag.to_bytes());
        if request.has(&tag) {
            response.inner.status = 304;
            response.inner.body = Bytes::new();
            response.inner.fields.retain(|(name, _)| name != "content-type");
        }
        response
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.inner.status
    }

    /// The first field called `name`.
    #[must_use]
    pub fn header_value(&self, name: &str) -> Option<&[u8]> {
        self.inner.fields.iter().find(|(found, _)| found == name).map(|(_, value)| &value[..])
    }

    /// The body.
    #[must_use]
    pub fn body_bytes(&self) -> &[u8] {
        &self.inner.body
    }

    pub(crate) fn into_inner(self) -> bus::Response {
        self.inner
    }
}

/// What a handler may return.
pub trait IntoResponse {
    /// The answer.
    fn into_response(self) -> Response;
}

impl IntoResponse for Response {
    fn into_response(self) -> Response {
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(self.status)
            .header("content-type", Bytes::from_static(MEDIA_TYPE.as_bytes()))
            .header("cache-control", Bytes::from_static(b"no-store"))
            .body(self.to_json());
        if let Some(seconds) = self.retry_after_seconds() {
            response = response.header("retry-after", seconds.to_string());
        }
        if let Some(methods) = &self.allow {
            response = response.header("allow", methods.clone());
        }
        response
    }
}

impl<T: IntoResponse, E: IntoResponse> IntoResponse for Result<T, E> {
    fn into_response(self) -> Response {
        match self {
            Ok(response) => response.into_response(),
            Err(error) => error.into_response(),
        }
    }
}
