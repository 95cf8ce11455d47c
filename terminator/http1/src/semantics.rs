//! What the fields of a head say about the message: its host, the length of its body, the
//! connection.

use crate::Error;
use crate::grammar::members;
use crate::host::is_host;
use crate::limits::OPTIONS_MAX;
use crate::options::Wishes;

/// How long the body of a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Length(u64),
    Chunked,
}

/// `Host`, of which there has to be one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Host {
    #[default]
    Missing,
    Valid,
    /// Not a host, or a second one.
    Wrong,
}

/// What the fields read so far say. What is wrong is kept and not told before the head ends: a line
/// that is malformed comes first, wherever it stands.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Semantics {
    host: Host,
    length: Option<Result<u64, Error>>,
    coding: Option<Result<(), Error>>,
    pub(crate) wishes: Wishes,
    /// The client waits for `100 Continue` before it sends the body.
    pub(crate) expects: bool,
}

impl Semantics {
    /// Takes a field; `name` is in lower case.
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
                // What is unknown stays so, whatever else there is.
                if self.coding != Some(Err(Error::CodingUnknown)) {
                    self.coding = Some(found);
                }
            }
            _ => {}
        }
    }

    /// How long the body is (RFC 9112 section 6.3).
    ///
    /// # Errors
    /// What is wrong with the framing, then with `Host`.
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

/// Digits alone (RFC 9110 section 8.6). A number that 64 bits cannot hold is as good as the largest
/// one.
fn length(value: &[u8]) -> Result<u64, Error> {
    if value.contains(&b',') {
        return Err(Error::LengthRepeated);
    }
    if value.is_empty() || !value.iter().fold(true, |valid, byte| valid & byte.is_ascii_digit()) {
        return Err(Error::Length);
    }
    // 64 bits hold no number of more than twenty digits.
    let (front, digits) = value.split_at(value.len().saturating_sub(20));
    if !front.iter().fold(true, |zeros, digit| zeros & (*digit == b'0')) {
        return Ok(u64::MAX);
    }
    let add = |sum: u64, digit: &u8| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    Ok(digits.iter().fold(0, add))
}

/// `chunked` alone (RFC 9112 section 7): no other coding is implemented.
fn coding(value: &[u8]) -> Result<(), Error> {
    let mut chunked = 0;
    // More empty members than anybody sends by mistake (RFC 9110 section 5.6.1.2).
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
