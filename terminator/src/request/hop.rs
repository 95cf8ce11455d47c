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

/// What the `Connection` headers of a request say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    /// Further headers that end here.
    pub(super) named: bool,
}

impl Options {
    /// Takes another of them.
    pub(super) fn add(&mut self, value: &HeaderValue) {
        for token in tokens(value.as_bytes()) {
            if token.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if token.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else {
                self.named = true;
            }
        }
    }

    /// Whether the client of a request of HTTP/1.0, or of a later one, wants the connection to stay (RFC 9112 section 9.3).
    pub(super) fn persists(self, is_1_0: bool) -> bool {
        !self.close && (self.keep_alive || !is_1_0)
    }
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

    fn options(values: &[&'static str]) -> Options {
        let mut options = Options::default();
        values.iter().for_each(|value| options.add(&HeaderValue::from_static(value)));
        options
    }

    #[test]
    fn close_and_keep_alive_name_nothing() {
        assert!(!options(&["Keep-Alive, close"]).named);
        assert!(options(&["close, upgrade"]).named);
    }

    #[test]
    fn a_connection_stays_as_its_version_has_it_unless_a_header_says_otherwise() {
        for (values, in_1_0, in_1_1) in [
            (&[][..], false, true),
            (&["upgrade"], false, true),
            (&["x, Keep-Alive"], true, true),
            (&["Close"], false, false),
            (&["close", "keep-alive"], false, false),
            (&["keep-alive", "x,close"], false, false),
        ] {
            let options = options(values);
            assert_eq!((options.persists(true), options.persists(false)), (in_1_0, in_1_1), "{values:?}");
        }
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
