//! The request target and its four forms (RFC 9112 section 3.2).
//!
//! Owns splitting and checking a target. Leaves authorities to `host`, and decoding paths to the
//! routes. Invariant: paths and queries consist of the visible bytes of ASCII except `#`, `<` and
//! `>`: the bytes of RFC 3986, and `" [ \ ] ^ ` { | }`, which browsers and other clients do not
//! escape. All other bytes are refused, because a proxy in front and a service behind might treat
//! them differently.

use std::ops::Range;

use crate::Error;
use crate::grammar::{find, has_whole_escapes};
use crate::host::is_authority;

/// True for each byte of paths and queries.
const VALID: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte as usize] = is_valid(byte);
        byte += 1;
    }
    table
};

/// The positions of the parts of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Present in the absolute form and for CONNECT.
    pub(crate) authority: Option<Range<usize>>,
    /// Empty in the absolute form without a path; `*` in the asterisk form.
    pub(crate) path: Range<usize>,
}

/// Splits the target of a request with this method.
///
/// # Errors
/// [`Error::Target`].
#[inline]
pub(crate) fn parse(method: &[u8], target: &[u8]) -> Result<Target, Error> {
    match target {
        _ if method == b"CONNECT" => connect(target),
        [b'/', ..] => path(target, 0).map(|path| Target { authority: None, path }),
        b"*" if method == b"OPTIONS" => Ok(Target { authority: None, path: 0..1 }),
        _ => absolute(target),
    }
}

/// The path that begins at `start`. Checks it and the query behind it.
#[inline]
fn path(target: &[u8], start: usize) -> Result<Range<usize>, Error> {
    let end = find(b'?', &target[start..]).map_or(target.len(), |at| start + at);
    // Only escapes of the path are checked: routes decode the path, and nothing decodes the query.
    let is_valid = are_valid(&target[start..]) && has_whole_escapes(&target[start..end]);
    if is_valid { Ok(start..end) } else { Err(Error::Target) }
}

/// True when all bytes may be in paths and queries: visible ASCII except `#`, `<` and `>`.
#[inline]
fn are_valid(bytes: &[u8]) -> bool {
    if bytes.len() < 64 {
        return bytes.iter().all(|byte| VALID[usize::from(*byte)]);
    }
    // No early return, so that the compiler vectorizes it.
    bytes.iter().fold(true, |valid, byte| valid & is_valid(*byte))
}

const fn is_valid(byte: u8) -> bool {
    byte.is_ascii_graphic() & (byte != b'#') & (byte != b'<') & (byte != b'>')
}

/// Splits the absolute form: `http://` or `https://`, an authority, a path that may be empty, and a
/// query (RFC 9110 section 4.2).
#[cold]
fn absolute(target: &[u8]) -> Result<Target, Error> {
    let colon = memchr::memchr(b':', target).ok_or(Error::Target)?;
    let (scheme, behind) = target.split_at(colon);
    let is_http = scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https");
    let Some(rest) = behind.strip_prefix(b"://").filter(|_| is_http) else { return Err(Error::Target) };
    let start = target.len() - rest.len();
    let end = memchr::memchr2(b'/', b'?', rest).map_or(target.len(), |at| start + at);
    if !is_authority(&target[start..end]) {
        return Err(Error::Target);
    }
    path(target, end).map(|path| Target { authority: Some(start..end), path })
}

/// Checks the target of CONNECT: HOST:PORT with a required port (RFC 9110 section 9.3.6).
#[cold]
fn connect(target: &[u8]) -> Result<Target, Error> {
    let has_port = target.last().is_some_and(u8::is_ascii_digit)
        && target
            .iter()
            .rposition(|byte| *byte == b':')
            .is_some_and(|colon| target[colon + 1..].iter().all(u8::is_ascii_digit));
    if !has_port || !is_authority(target) {
        return Err(Error::Target);
    }
    Ok(Target { authority: Some(0..target.len()), path: target.len()..target.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(method: &str, target: &str) -> Option<(Option<String>, String)> {
        let parsed = parse(method.as_bytes(), target.as_bytes()).ok()?;
        Some((parsed.authority.map(|range| target[range].to_owned()), target[parsed.path].to_owned()))
    }

    #[test]
    fn every_form_is_taken_apart() {
        for (method, target, authority, path) in [
            ("GET", "/", None, "/"),
            ("GET", "/a/b?c?d/e", None, "/a/b"),
            ("GET", "//a", None, "//a"),
            ("GET", "/a%20b?c=100%", None, "/a%20b"),
            ("GET", "/{a}|b\"?x[]=^`\\", None, "/{a}|b\""),
            ("OPTIONS", "*", None, "*"),
            ("GET", "http://h", Some("h"), ""),
            ("GET", "HTTP://h?x", Some("h"), ""),
            ("GET", "https://h:1/a?x", Some("h:1"), "/a"),
            ("GET", "http://[::1]:80/", Some("[::1]:80"), "/"),
            ("CONNECT", "h:443", Some("h:443"), ""),
            ("CONNECT", "[::1]:443", Some("[::1]:443"), ""),
        ] {
            assert_eq!(
                parts(method, target),
                Some((authority.map(str::to_owned), path.to_owned())),
                "{method} {target}"
            );
        }
    }

    #[test]
    fn what_is_no_target_is_refused() {
        for (method, target) in [
            ("GET", "a"),
            ("GET", "*"),
            ("GET", "*a"),
            ("GET", "?a"),
            ("GET", "/a#b"),
            ("GET", "/a?b#c"),
            ("GET", "/a%"),
            ("GET", "/a%2"),
            ("GET", "/a%zz/b"),
            ("GET", "/<a>"),
            ("GET", "/\u{e9}"),
            ("GET", "/\t"),
            ("GET", "/a?\u{7f}"),
            ("GET", "ftp://h/"),
            ("GET", "-http://h/"),
            ("GET", "h~tp://h/"),
            ("GET", "1http://h/"),
            ("GET", "://h/"),
            ("GET", "http:/h/"),
            ("GET", "http:///a"),
            ("GET", "http://?a"),
            ("GET", "http://:80/"),
            ("GET", "http://u@h/"),
            ("GET", "http://h:a/"),
            ("GET", "http://h\\a?b"),
            ("GET", "http://h#a"),
            ("GET", "h:443"),
            ("CONNECT", "h"),
            ("CONNECT", "h:"),
            ("CONNECT", ":443"),
            ("CONNECT", "/"),
            ("CONNECT", "http://h:443"),
            ("CONNECT", "u@h:443"),
        ] {
            assert_eq!(parse(method.as_bytes(), target.as_bytes()), Err(Error::Target), "{method} {target}");
        }
    }
}
