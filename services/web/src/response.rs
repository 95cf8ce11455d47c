//! Parts of responses that all handlers share.
//!
//! Owns the cache header of pages, HTML responses, and escaping in addresses.

use bytes::Bytes;
use maud::Markup;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use service_host::Response;

use crate::assets::POLICY;

/// All but the unreserved characters (RFC 3986, section 2.3) are escaped.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Only the member's own cache may store a page, and must revalidate it.
pub(crate) const REVALIDATE: Bytes = Bytes::from_static(b"private, no-cache");

/// An HTML response with this page.
pub(crate) fn html(page: Markup) -> Response {
    Response::html(page.into_string()).header("content-security-policy", POLICY)
}

/// Escapes `text` as one path segment or one query value.
pub(crate) fn segment(text: &str) -> impl std::fmt::Display {
    utf8_percent_encode(text, SEGMENT)
}
