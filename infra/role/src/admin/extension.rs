//! Paths of the admin listener that only one role has.
//!
//! Owns the shape of their questions and answers. Leaves the answers to the role, and everything
//! else of the listener to `admin`. Invariant: a path that every role has is never the extension's.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use http::HeaderMap;

use crate::problem::Problem;

/// Bytes of a question's body; above: 413.
pub const BODY_BYTES: usize = 256 << 10;

/// The paths of one role.
pub struct Extension {
    /// What `GET /` says of them.
    pub paths: &'static [(&'static str, &'static str)],
    /// The answer; `None` when the role does not have the path either.
    pub answer: Box<dyn Fn(Question) -> Answering>,
}

/// An answer in the making.
pub type Answering = Pin<Box<dyn Future<Output = Option<Answer>>>>;

/// A request for one of the paths.
#[derive(Debug)]
pub struct Question {
    /// GET or POST; HEAD is asked as GET.
    pub method: http::Method,
    /// The path as it was sent.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, at most [`BODY_BYTES`] long.
    pub body: Bytes,
}

/// The answer to a [`Question`].
#[derive(Debug)]
pub enum Answer {
    /// JSON with this status and these headers.
    Json(u16, Vec<(http::HeaderName, String)>, Bytes),
    /// 200 with a file of this media type, such as a page, and these headers.
    File(&'static str, Vec<(http::HeaderName, String)>, Bytes),
    /// An error with these headers.
    Problem(Problem, Vec<(http::HeaderName, String)>),
    /// The path is there, but not with this method; the methods that it has, such as `POST`.
    Method(&'static str),
}

impl Answer {
    /// 200 with `value` as JSON.
    #[must_use]
    pub fn of(value: &impl serde::Serialize) -> Self {
        let mut body = serde_json::to_vec(value).expect("reports have string keys and finite numbers");
        body.push(b'\n');
        Self::Json(200, Vec::new(), body.into())
    }
}
