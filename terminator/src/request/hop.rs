//! Hop-by-hop headers: those that end at the next hop (RFC 9110 section 7.6.1).

/// Whether a header never goes on, in either direction: those that section 7.6.1 lists, and `trailer`, since trailers
/// are not sent on.
#[inline]
#[must_use]
pub fn is_hop_by_hop(name: &[u8]) -> bool {
    matches!(
        name,
        b"connection"
            | b"keep-alive"
            | b"proxy-connection"
            | b"te"
            | b"trailer"
            | b"transfer-encoding"
            | b"upgrade"
    )
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
    pub(super) fn add(&mut self, value: &[u8]) {
        for token in tokens(value) {
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

/// Whether one of the `Connection` headers names `name`.
#[must_use]
pub fn is_named_by<'a>(mut connection: impl Iterator<Item = &'a [u8]>, name: &[u8]) -> bool {
    connection.any(|value| tokens(value).any(|token| token.eq_ignore_ascii_case(name)))
}

fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_names_headers_in_any_case_and_over_several_lines() {
        let values = [&b"close, X-One ,"[..], b"x-two"];
        for (name, named) in [("x-one", true), ("x-two", true), ("x-three", false)] {
            assert_eq!(is_named_by(values.into_iter(), name.as_bytes()), named, "{name}");
        }
    }

    fn options(values: &[&'static str]) -> Options {
        let mut options = Options::default();
        values.iter().for_each(|value| options.add(value.as_bytes()));
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
            assert_eq!(is_hop_by_hop(name.as_bytes()), ends, "{name}");
        }
    }
}
