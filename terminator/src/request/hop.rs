//! Hop-by-hop headers: those that end at the next hop (RFC 9110 section 7.6.1).

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Whether a header never goes on, in either direction: those that section 7.6.1 lists, and `trailer`, since trailers
/// are not sent on.
#[inline]
#[must_use]
pub fn is_hop_by_hop(name: &HeaderName) -> bool {
    match *name {
        header::CONNECTION | header::TRANSFER_ENCODING | header::UPGRADE | header::TE | header::TRAILER => {
            true
        }
        _ => matches!(name.as_str(), "keep-alive" | "proxy-connection"),
    }
}

/// Whether a `Connection` value names headers, and not only `close` or `keep-alive`.
pub(super) fn names_more(value: &HeaderValue) -> bool {
    tokens(value.as_bytes())
        .any(|token| !token.eq_ignore_ascii_case(b"close") && !token.eq_ignore_ascii_case(b"keep-alive"))
}

/// Whether a `Connection` header names `name`.
#[must_use]
pub fn is_named_by(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| tokens(value.as_bytes()))
        .any(|token| token.eq_ignore_ascii_case(name.as_str().as_bytes()))
}

fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_names_headers_in_any_case_and_over_several_lines() {
        let mut headers = HeaderMap::new();
        headers.append(header::CONNECTION, HeaderValue::from_static("close, X-One ,"));
        headers.append(header::CONNECTION, HeaderValue::from_static("x-two"));
        assert!(is_named_by(&headers, &HeaderName::from_static("x-one")));
        assert!(is_named_by(&headers, &HeaderName::from_static("x-two")));
        assert!(!is_named_by(&headers, &HeaderName::from_static("x-three")));
    }

    #[test]
    fn close_and_keep_alive_name_nothing() {
        assert!(!names_more(&HeaderValue::from_static("Keep-Alive, close")));
        assert!(names_more(&HeaderValue::from_static("close, upgrade")));
    }

    #[test]
    fn end_to_end_headers_stay() {
        for (name, ends) in [
            ("connection", true),
            ("keep-alive", true),
            ("proxy-connection", true),
            ("te", true),
            ("upgrade", true),
            ("content-type", false),
            ("authorization", false),
            ("x-keep-alive", false),
        ] {
            assert_eq!(is_hop_by_hop(&HeaderName::from_static(name)), ends, "{name}");
        }
    }
}
