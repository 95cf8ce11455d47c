//! Errors as clients see them, in one dialect for every role: `application/problem+json`
//! (RFC 9457).
//!
//! Owns the members, their order and their JSON. A role owns its problem types and what `detail`
//! says; it also writes the status and the header fields of the response. docs/problems.md lists
//! every type.
//!
//! Invariant: all problems of one `reason` have the same `type`, `title` and `status`, whichever
//! role answers.

use std::borrow::Cow;
use std::fmt::Display;
use std::ops::Deref;
use std::time::Duration;

use bytes::Bytes;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

/// The media type of a problem (RFC 9457 section 6.1).
pub const MEDIA_TYPE: &str = "application/problem+json";

/// `type` is this followed by the reason.
const TYPE_PREFIX: &str = "urn:stack:problem:";

/// A kind of problem: what stays the same from one occurrence to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProblemType {
    /// A word for programs in snake case, such as `no_instance`: the member `reason`, the end of
    /// `type`, and the name of the counter where there is one.
    pub reason: &'static str,
    /// The HTTP status, 400 to 599.
    pub status: u16,
    /// A few words for people.
    pub title: &'static str,
    /// What the reader can do: an imperative without a full stop.
    pub remedy: Option<&'static str>,
}

impl ProblemType {
    /// A kind of problem without a remedy.
    #[must_use]
    pub const fn new(reason: &'static str, status: u16, title: &'static str) -> Self {
        Self { reason, status, title, remedy: None }
    }

    /// The same with a remedy.
    #[must_use]
    pub const fn remedy(self, remedy: &'static str) -> Self {
        Self { remedy: Some(remedy), ..self }
    }
}

/// One occurrence of a problem. Boxed, so that a result that may carry a problem stays small.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", .0.status, .0.detail)]
pub struct Problem(Box<Members>);

/// The members of a problem, and the two header fields that depend on what happened.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Members {
    /// [`ProblemType::reason`].
    pub reason: Cow<'static, str>,
    /// [`ProblemType::status`].
    pub status: u16,
    /// [`ProblemType::title`].
    pub title: Cow<'static, str>,
    /// What happened this time.
    pub detail: Cow<'static, str>,
    /// The field, parameter or header that is wrong.
    pub field: Option<Cow<'static, str>>,
    /// The limit that was hit: bytes, characters, requests, connections or milliseconds, as the
    /// detail says.
    pub limit: Option<u64>,
    /// What the reader can do.
    pub remedy: Option<Cow<'static, str>>,
    /// The value of `x-request-id`.
    pub request_id: Option<Box<str>>,
    /// The request's path.
    pub instance: Option<Box<str>>,
    /// When to try again: `Retry-After`, not a member.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
    /// The methods of the path: `Allow`, not a member.
    #[serde(skip)]
    pub allow: Option<Bytes>,
}

impl Problem {
    /// An occurrence of a kind of problem. `detail` says in a sentence what happened this time.
    pub fn new(kind: ProblemType, detail: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Members {
            reason: kind.reason.into(),
            status: kind.status,
            title: kind.title.into(),
            detail: detail.into(),
            field: None,
            limit: None,
            remedy: kind.remedy.map(Cow::Borrowed),
            request_id: None,
            instance: None,
            retry_after: None,
            allow: None,
        }))
    }

    /// An occurrence whose detail is the text of `error` as a sentence: with a capital letter and a
    /// full stop.
    pub fn because(kind: ProblemType, error: impl Display) -> Self {
        let mut detail = error.to_string();
        if let Some(first) = detail.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        detail.push('.');
        Self::new(kind, detail)
    }

    /// Reads the problem that another role answered; `None` when `body` is not a problem of this
    /// dialect, for example because it has no `reason`.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok().map(Self)
    }

    /// Names the field, parameter or header that is wrong.
    #[must_use]
    pub fn field(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.0.field = Some(name.into());
        self
    }

    /// Names the limit that was hit.
    #[must_use]
    pub fn limit(mut self, limit: u64) -> Self {
        self.0.limit = Some(limit);
        self
    }

    /// Replaces the remedy of the type by one that fits this occurrence.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<Cow<'static, str>>) -> Self {
        self.0.remedy = Some(remedy.into());
        self
    }

    /// Names the request, as `x-request-id` does. An empty id is left out.
    #[must_use]
    pub fn request_id(mut self, id: &str) -> Self {
        self.0.request_id = (!id.is_empty()).then(|| id.into());
        self
    }

    /// Names the request's path. An empty path is left out.
    #[must_use]
    pub fn instance(mut self, path: &str) -> Self {
        self.0.instance = (!path.is_empty()).then(|| path.into());
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// Names the methods of the path.
    #[must_use]
    pub fn allow(mut self, methods: impl Into<Bytes>) -> Self {
        self.0.allow = Some(methods.into());
        self
    }

    /// The members as JSON, with a line feed at the end.
    ///
    /// # Panics
    /// Never: strings and numbers are always JSON.
    #[must_use]
    pub fn to_json(&self) -> Bytes {
        let mut body = serde_json::to_vec(self).expect("a map of strings and numbers is always JSON");
        body.push(b'\n');
        body.into()
    }
}

/// A problem reads as its members: `problem.status`.
impl Deref for Problem {
    type Target = Members;

    fn deref(&self) -> &Members {
        &self.0
    }
}

impl Members {
    /// The value of `Retry-After`, in whole seconds, rounded up.
    #[must_use]
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after.map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fn some<M: SerializeMap, T: Serialize + ?Sized>(
            map: &mut M,
            name: &str,
            value: Option<&T>,
        ) -> Result<(), M::Error> {
            value.map_or(Ok(()), |value| map.serialize_entry(name, value))
        }
        let members = &*self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", &format_args!("{TYPE_PREFIX}{}", members.reason))?;
        map.serialize_entry("title", &members.title)?;
        map.serialize_entry("status", &members.status)?;
        map.serialize_entry("detail", &members.detail)?;
        map.serialize_entry("reason", &members.reason)?;
        some(&mut map, "field", members.field.as_deref())?;
        some(&mut map, "limit", members.limit.as_ref())?;
        some(&mut map, "remedy", members.remedy.as_deref())?;
        some(&mut map, "request_id", members.request_id.as_deref())?;
        some(&mut map, "instance", members.instance.as_deref())?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: ProblemType = ProblemType::new("size", 413, "Too large").remedy("send less");

    #[test]
    fn members_come_in_the_order_of_the_documentation_and_missing_ones_are_left_out() {
        let problem = Problem::new(SIZE, "It has 10 bytes.").request_id("").instance("");
        let expected = r#"{"type":"urn:stack:problem:size","title":"Too large","status":413,"detail":"It has 10 bytes.","reason":"size","remedy":"send less"}"#;
        assert_eq!(problem.to_json(), format!("{expected}\n"));
        let problem = problem.field("a\"").limit(9).remedy("split it").request_id("r1").instance("/a");
        let rest = r#""reason":"size","field":"a\"","limit":9,"remedy":"split it","request_id":"r1","instance":"/a"}"#;
        assert!(std::str::from_utf8(&problem.to_json()).unwrap().contains(rest), "{problem:?}");
    }

    #[test]
    fn a_problem_of_another_role_is_read_back() {
        let problem = Problem::new(SIZE, "d").field("f").limit(1).request_id("r").instance("/p");
        assert_eq!(Problem::parse(&problem.to_json()), Some(problem));
        for not_ours in [r#"{"title":"t","status":400,"detail":"d"}"#, "{}", "[]", ""] {
            assert_eq!(Problem::parse(not_ours.as_bytes()), None, "{not_ours}");
        }
    }

    #[test]
    fn the_text_of_an_error_becomes_a_sentence() {
        assert_eq!(Problem::because(SIZE, "it has 10 bytes").detail, "It has 10 bytes.");
        assert_eq!(Problem::because(SIZE, "`a` is wrong").detail, "`a` is wrong.");
        assert_eq!(Problem::because(SIZE, "é").detail, "é.");
    }

    #[test]
    fn a_fraction_of_a_second_is_rounded_up() {
        let seconds =
            |ms| Problem::new(SIZE, "").retry_after(Duration::from_millis(ms)).retry_after_seconds();
        assert_eq!((seconds(1000), seconds(1001)), (Some(1), Some(2)));
    }
}
