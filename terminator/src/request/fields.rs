//! A request's head as it came, wherever it lies: in hyper's types or in the bytes of a plain request.

use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Version};

/// A request line and what goes with it.
#[derive(Clone, Copy, Debug)]
pub struct StartLine<'a> {
    /// The method.
    pub method: &'a Method,
    /// Path and query, as the bus sends them.
    pub target: &'a str,
    /// The path alone, as routes match it.
    pub path: &'a str,
    /// That of a target in absolute form, which wins over `Host` (RFC 9112 section 3.2.2).
    pub authority: Option<&'a str>,
    /// HTTP/1.0.
    pub is_1_0: bool,
}

impl<'a> From<&'a Parts> for StartLine<'a> {
    fn from(parts: &'a Parts) -> Self {
        Self {
            method: &parts.method,
            target: parts.uri.path_and_query().map_or("/", PathAndQuery::as_str),
            path: parts.uri.path(),
            authority: parts.uri.authority().map(http::uri::Authority::as_str),
            is_1_0: parts.version < Version::HTTP_11,
        }
    }
}

/// Header fields, valid ones.
pub trait Fields {
    /// Each field: its name in lower case, its value. Those of one name come in their order.
    fn each(&self) -> impl Iterator<Item = (&[u8], &[u8])>;

    /// The values of the fields called `name`.
    fn called(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.each().filter(move |(found, _)| *found == name.as_bytes()).map(|(_, value)| value)
    }
}

impl Fields for HeaderMap {
    #[inline]
    fn each(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.iter().map(|(name, value)| (name.as_ref(), value.as_bytes()))
    }

    fn called(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.get_all(name).iter().map(HeaderValue::as_bytes)
    }
}
