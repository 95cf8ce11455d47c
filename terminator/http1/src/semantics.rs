//! The meaning of the fields of a head: the host, the framing of the body, the connection.
//!
//! Owns the rules about `Host`, `Content-Length`, `Transfer-Encoding` and `Expect`. Leaves the
//! grammar of a line to `field`, and the options of `Connection` to `options`. Invariant: an error
//! is reported only at the end of the head, so that a malformed line takes precedence wherever it
//! is.

use crate::Error;
use crate::grammar::members;
use crate::host::is_host;
use crate::limits::OPTIONS_MAX;
use crate::options::Wishes;

/// The framing of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Length(u64),
    Chunked,
}

/// The state of `Host`, which is required exactly once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Host {
    #[default]
    Missing,
    Valid,
    /// Not a valid host, or a second field.
    Wrong,
}

/// What the fields read so far mean, with the first error of each kind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Semantics {
    host: Host,
    length: Option<Result<u64, Error>>,
    coding: Option<Result<(), Error>>,
    pub(crate) wishes: Wishes,
    /// True when the client waits for `100 Continue` before it sends the body.
    pub(crate) expects: bool,
}

impl Semantics {
    /// Adds a field; `name` is in lower case.
    #[inline]
    pub(crate) fn add(&mut self, name: &[u8], value: &[u8]) {
        match name.len() {
            4 if name == b"host" => {
                let valid = self.host == Host::Missing && is_host(value);
                self.host = if valid { Host::Valid } else { Host::Wrong };
            }
            6 if name == b"expect" => self.expects |= value.eq_ignore_ascii_case(b"100-continue"),
            10 if name == b"connection" => self.wishes.add(value),
            14 if name == b"content-length" => {
                self.length =
                    Some(if self.length.is_none() { length(value) } else { Err(Error::LengthRepeated) });
            }
            17 if name == b"transfer-encoding" => {
                let again = self.coding.is_some();
                let found = coding(value).and(if again { Err(Error::Coding) } else { Ok(()) });
                // An unknown coding takes precedence over other errors of the field.
                if self.coding != Some(Err(Error::CodingUnknown)) {
                    self.coding = Some(found);
                }
            }
            _ => {}
        }
    }

    /// The framing of the body (RFC 9112 section 6.3).
    ///
    /// # Errors
    /// The error of the framing, or else that of `Host`.
    #[inline]
    pub(crate) fn body(&self, is_1_0: bool) -> Result<Body, Error> {
        let body = match (self.length, self.coding) {
            (None, None) => Body::Length(0),
            (Some(length), None) => Body::Length(length?),
            (None, Some(_)) if is_1_0 => return Err(Error::CodingVersion),
            (None, Some(coding)) => {
                coding?;
                Body::Chunked
            }
            (Some(_), Some(_)) => return Err(Error::LengthAndCoding),
        };
        match self.host {
            Host::Valid => Ok(body),
            Host::Missing if is_1_0 => Ok(body),
            Host::Missing | Host::Wrong => Err(Error::Host),
        }
    }
}

/// Parses `1*DIGIT` (RFC 9110 section 8.6). Saturates: a number above 64 bits exceeds every limit.
fn length(value: &[u8]) -> Result<u64, Error> {
    if value.contains(&b',') {
        return Err(Error::LengthRepeated);
    }
    if value.is_empty() || !value.iter().fold(true, |valid, byte| valid & byte.is_ascii_digit()) {
        return Err(Error::Length);
    }
    // A number of more than 20 digits without leading zeros does not fit 64 bits.
    let (front, digits) = value.split_at(value.len().saturating_sub(20));
    if !front.iter().fold(true, |zeros, digit| zeros & (*digit == b'0')) {
        return Ok(u64::MAX);
    }
    let add = |sum: u64, digit: &u8| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    Ok(digits.iter().fold(0, add))
}

/// Accepts `chunked` alone (RFC 9112 section 7), because no other coding is implemented.
fn coding(value: &[u8]) -> Result<(), Error> {
    let mut chunked = 0;
    // Bounds the empty members, which would otherwise be ignored (RFC 9110 section 5.6.1.2).
    if memchr::memchr_iter(b',', value).take(OPTIONS_MAX).count() == OPTIONS_MAX {
        return Err(Error::Coding);
    }
    for coding in members(value) {
        if !coding.eq_ignore_ascii_case(b"chunked") {
            return Err(Error::CodingUnknown);
        }
        chunked += 1;
    }
    if chunked == 1 { Ok(()) } else { Err(Error::Coding) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(fields: &[(&str, &str)], is_1_0: bool) -> Result<Body, Error> {
        let mut semantics = Semantics::default();
        fields.iter().for_each(|(name, value)| semantics.add(name.as_bytes(), value.as_bytes()));
        semantics.body(is_1_0)
    }

    #[test]
    fn one_length_or_chunked_alone_is_a_body() {
        let (host, length, coding) = (("host", "a"), "content-length", "transfer-encoding");
        for (fields, expected) in [
            (&[host][..], Ok(Body::Length(0))),
            (&[host, (length, "007")], Ok(Body::Length(7))),
            (&[host, (length, "99999999999999999999999")], Ok(Body::Length(u64::MAX))),
            (&[host, (length, "")], Err(Error::Length)),
            (&[host, (length, "+1")], Err(Error::Length)),
            (&[host, (length, "1 1")], Err(Error::Length)),
            (&[host, (length, "1,1")], Err(Error::LengthRepeated)),
            (&[host, (length, "1"), (length, "1")], Err(Error::LengthRepeated)),
            (&[host, (length, "1"), (coding, "chunked")], Err(Error::LengthAndCoding)),
            (&[host, (coding, "Chunked")], Ok(Body::Chunked)),
            (&[host, (coding, ", chunked ,")], Ok(Body::Chunked)),
            (&[host, (coding, "")], Err(Error::Coding)),
            (&[host, (coding, "chunked, chunked")], Err(Error::Coding)),
            (&[host, (coding, "chunked"), (coding, "chunked")], Err(Error::Coding)),
            (&[host, (coding, "gzip, chunked")], Err(Error::CodingUnknown)),
            (&[host, (coding, "chunked"), (coding, "gzip")], Err(Error::CodingUnknown)),
            (&[host, (coding, "gzip"), (coding, "chunked")], Err(Error::CodingUnknown)),
            (&[host, (coding, "chunked;q=1")], Err(Error::CodingUnknown)),
            (&[host, (coding, "\"chunked\"")], Err(Error::CodingUnknown)),
            (&[(coding, "gzip")], Err(Error::CodingUnknown)),
            (&[], Err(Error::Host)),
            (&[host, host], Err(Error::Host)),
            (&[("host", "a b")], Err(Error::Host)),
        ] {
            assert_eq!(body(fields, false), expected, "{fields:?}");
        }
    }

    #[test]
    fn http_1_0_needs_no_host_and_knows_no_coding() {
        assert_eq!(body(&[], true), Ok(Body::Length(0)));
        assert_eq!(body(&[("transfer-encoding", "chunked")], true), Err(Error::CodingVersion));
        assert_eq!(body(&[("host", "a"), ("host", "a")], true), Err(Error::Host));
    }
}
