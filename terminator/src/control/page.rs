//! The page of live change on the admin listener: `GET /change`.
//!
//! Owns its files, which are part of the binary, and the policy under which a browser runs them.
//! Leaves what it shows to the JSON paths that it reads, and what its buttons do to `writes`.
//! Invariant: the page loads nothing from elsewhere, and no text of a document becomes HTML.

use bytes::Bytes;
use http::header;
use role::admin::extension::Answer;

/// Only the page's own script and style, and requests to where it came from.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The file at this path of the admin listener.
pub(super) fn file(path: &str) -> Option<Answer> {
    let (media_type, content) = match path {
        "/change" => ("text/html; charset=utf-8", include_str!("page/change.html")),
        "/change.css" => ("text/css; charset=utf-8", include_str!("page/change.css")),
        "/change.js" => ("text/javascript; charset=utf-8", include_str!("page/change.js")),
        _ => return None,
    };
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    let headers = headers.map(|(name, value)| (name, value.to_owned())).to_vec();
    Some(Answer::File(media_type, headers, Bytes::from_static(content.as_bytes())))
}
