//! The request target and its four forms (RFC 9112 section 3.2).
//!
//! Paths and queries consist of the visible bytes of ASCII but `#`, `<` and `>`: those of RFC 3986,
//! and `" [ \ ] ^ ` { | }`, which browsers and other clients send as they are. Nothing else is let
//! through: what a proxy in front and a service behind might read differently.

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

/// Where the parts of a target lie in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Of the absolute form, and of CONNECT.
    pub(crate) authority: Option<Range<usize>>,
    /// May be empty in the absolute form; `*` in the asterisk form.
    pub(crate) path: Range<usize>,
}

/// Takes the target of a request with this method apart; its query ends where the target does.
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

/// The path that begins at `start`; checks it and the query behind it. Two hexadecimal digits
/// follow each `%` of the path, which routes decode; nobody here decodes a query.
#[inline]
fn path(target: &[u8], start: usize) -> Result<Range<usize>, Error> {
    let end = find(b'?', &target[start..]).map_or(target.len(), |at| start + at);
    // Escapes of a path alone: routes decode it, and nobody here decodes a query.
    let is_valid = are_valid(&target[start..]) && has_whole_escapes(&target[start..end]);
    if is_valid { Ok(start..end) } else { Err(Error::Target) }
}

/// True for bytes of paths and queries: visible ASCII but `#`, `<` and `>`.
#[inline]
fn are_valid(bytes: &[u8]) -> bool {
    if bytes.len() < 64 {
        return bytes.iter().all(|byte| VALID[usize::from(*byte)]);
    }
    // Without a way out in the middle, so that it is done many bytes at once.
    bytes.iter().fold(true, |valid, byte| valid & is_valid(*byte))
}

const fn is_valid(byte: u8) -> bool {
    byte.is_ascii_graphic() & (byte != b'#') & (byte != b'<') & (byte != b'>')
}

/// `http://` or `https://`, an authority, a path that may be empty, and a query (RFC 9110 section
/// 4.2).
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

/// HOST:PORT, the port being required (RFC 9110 section 9.3.6).
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
