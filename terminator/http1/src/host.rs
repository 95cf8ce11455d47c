//! The value of `Host`: `uri-host [ ":" port ]` (RFC 9110 section 7.2, RFC 3986 section 3.2.2).
//!
//! Owns checking hosts and authorities. Leaves which of the two a request needs to `semantics` and
//! `target`. Invariant: the check is strict, because a proxy in front and a service behind may
//! disagree about an invalid host.

use std::net::Ipv6Addr;

use crate::grammar::{ALPHANUMERIC, bytes_of, has_whole_escapes};

/// `unreserved` and `sub-delims` (RFC 3986 sections 2.2 and 2.3) and the colon: bytes of a literal
/// address of a later version.
const LITERAL: [bool; 256] = bytes_of(&[ALPHANUMERIC, b"-._~!$&'()*+,;=:"]);
/// `unreserved`, `sub-delims` and `%`: bytes of a name.
const NAME: [bool; 256] = bytes_of(&[ALPHANUMERIC, b"-._~!$&'()*+,;=%"]);

/// True when `value` is a host, with or without a port. The empty value is valid: it is sent for a
/// target without an authority.
#[inline]
#[must_use]
pub fn is_host(value: &[u8]) -> bool {
    if let [b'[', literal @ ..] = value {
        return is_valid_literal(literal);
    }
    let (name, port) = value.split_at(memchr::memchr(b':', value).unwrap_or(value.len()));
    let is_name = name.iter().fold(true, |valid, byte| valid & NAME[usize::from(*byte)]);
    is_name && has_whole_escapes(name) && (port.is_empty() || is_port(port))
}

/// True when `authority`, of a target in absolute form, is a host with or without a port: no user,
/// and not empty (RFC 9110 sections 4.2.1 and 4.2.4).
#[cold]
pub(crate) fn is_authority(authority: &[u8]) -> bool {
    !matches!(authority, [] | [b':', ..]) && is_host(authority)
}

/// True when `literal`, which follows the opening bracket, is an IPv6 address or one of a later
/// version, then `]`, and optionally a port.
#[cold]
fn is_valid_literal(literal: &[u8]) -> bool {
    let Some(end) = literal.iter().position(|byte| *byte == b']') else { return false };
    let (address, behind) = (&literal[..end], &literal[end + 1..]);
    let known = std::str::from_utf8(address).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok());
    (known || is_future(address)) && (behind.is_empty() || is_port(behind))
}

fn is_port(behind: &[u8]) -> bool {
    matches!(behind, [b':', digits @ ..] if digits.iter().all(u8::is_ascii_digit))
}

/// `"v" 1*HEXDIG "." 1*( unreserved / sub-delims / ":" )`.
fn is_future(address: &[u8]) -> bool {
    let [b'v' | b'V', rest @ ..] = address else { return false };
    let Some(dot) = rest.iter().position(|byte| *byte == b'.') else { return false };
    let (version, name) = (&rest[..dot], &rest[dot + 1..]);
    let named = |byte: &u8| LITERAL[usize::from(*byte)];
    !version.is_empty()
        && version.iter().all(u8::is_ascii_hexdigit)
        && !name.is_empty()
        && name.iter().all(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_and_addresses_with_or_without_a_port() {
        for host in [
            "a",
            "example.org",
            "example.org:8080",
            "127.0.0.1:1",
            "a:",
            "",
            "my_host",
            "[::1]",
            "[::1]:80",
            "[2001:db8::1]:",
            "[v1.a:b]",
            "a%20b",
            "%41:80",
            "xn--bcher-kva.example",
        ] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn what_is_not_a_host_is_found() {
        for host in [
            "a b/c@",
            "a b",
            "a/b",
            "user@a",
            "a:b",
            "a:1:2",
            "a,b:1 ",
            "[::1",
            "::1",
            "[::1]a",
            "[1.2.3.4]",
            "[fe80::1%25eth0]",
            "[]",
            "a[::1]",
            "%41[::1]",
            "a%",
            "a%4",
            "a%zz",
            "http://a",
            "a#b",
            "a?b",
            "[v.a]",
            "a\\b",
            "\u{fc}.example",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }
}
