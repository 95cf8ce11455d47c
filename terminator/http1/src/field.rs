//! One field line: `NAME ":" OWS VALUE OWS` (RFC 9112 section 5).
//!
//! Owns checking a line and finding its name and value. Leaves which bytes are valid to `grammar`,
//! and the meaning of fields to `semantics`.

use crate::Error;
use crate::grammar::{TOKEN_LOWER, is_field_value, is_token, trimmed};

/// Lines up to this length are read a byte at a time, which is cheaper for names of usual length.
const LONG: usize = 128;

/// A field of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its name in lower case.
    pub name: &'a [u8],
    /// Its value, without the white space around it.
    pub value: &'a [u8],
    /// True for a hop-by-hop field, which must not be forwarded: by its name, or because
    /// `Connection` lists it (RFC 9110 section 7.6.1).
    pub ends_here: bool,
}

/// Checks a line without its CRLF, and converts its name to lower case. Returns the length of the
/// name.
///
/// # Errors
/// [`Error::Folded`], [`Error::FieldName`], [`Error::FieldValue`].
#[inline]
pub(crate) fn check(line: &mut [u8]) -> Result<usize, Error> {
    let name_len = check_name(line)?;
    if is_field_value(&line[name_len + 1..]) { Ok(name_len) } else { Err(Error::FieldValue) }
}

/// Like [`check`], for a line that is known to have no control characters.
///
/// # Errors
/// [`Error::Folded`], [`Error::FieldName`].
#[inline]
pub(crate) fn check_name(line: &mut [u8]) -> Result<usize, Error> {
    match name(line) {
        Some(len) => Ok(len),
        None if matches!(line, [b' ' | b'\t', ..]) => Err(Error::Folded),
        None => Err(Error::FieldName),
    }
}

/// Converts the name in front of the colon to lower case; returns its length.
#[inline]
fn name(line: &mut [u8]) -> Option<usize> {
    if line.len() > LONG {
        // The name may be long too; these functions process many bytes at once.
        let len = memchr::memchr(b':', line).filter(|len| is_token(&line[..*len]))?;
        line[..len].make_ascii_lowercase();
        return Some(len);
    }
    let mut len = 0;
    while len < line.len() {
        let lower = TOKEN_LOWER[usize::from(line[len])];
        if lower == 0 {
            return (line[len] == b':' && len > 0).then_some(len);
        }
        line[len] = lower;
        len += 1;
    }
    None
}

/// The value of a line that has been checked, and its offset in the line.
#[inline]
pub(crate) fn value(line: &[u8], name_len: usize) -> (usize, &[u8]) {
    let behind = &line[name_len + 1..];
    let value = trimmed(behind);
    // An empty slice need not point into `line`.
    let start = if value.is_empty() { name_len + 1 } else { value.as_ptr().addr() - line.as_ptr().addr() };
    (start, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<(String, String), Error> {
        let mut line = line.as_bytes().to_vec();
        let name_len = check(&mut line)?;
        let (start, value) = value(&line, name_len);
        assert_eq!(&line[start..start + value.len()], value);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Ok((text(&line[..name_len]), text(value)))
    }

    #[test]
    fn a_field_is_a_token_a_colon_and_a_value() {
        for (line, name, value) in [
            ("Host: a", "host", "a"),
            ("X-A:b", "x-a", "b"),
            ("x: \t b c\t ", "x", "b c"),
            ("x:", "x", ""),
            ("x: \t", "x", ""),
            ("x::", "x", ":"),
            ("x: \u{fc}", "x", "\u{fc}"),
        ] {
            assert_eq!(parse(line), Ok((name.to_owned(), value.to_owned())), "{line:?}");
        }
        for (line, error) in [
            (" x: a", Error::Folded),
            ("\tx: a", Error::Folded),
            ("x : a", Error::FieldName),
            (": a", Error::FieldName),
            ("x", Error::FieldName),
            ("", Error::FieldName),
            ("x y: a", Error::FieldName),
            ("\u{fc}: a", Error::FieldName),
            ("x: a\rb", Error::FieldValue),
            ("x: a\0", Error::FieldValue),
            ("x: a\u{7f}", Error::FieldValue),
        ] {
            assert_eq!(parse(line), Err(error), "{line:?}");
        }
    }
}
