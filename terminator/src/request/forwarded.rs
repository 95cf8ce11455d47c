//! Where a request came from: `x-forwarded-*`, `Forwarded` (RFC 7239) and their relatives.
//!
//! Owns recognising these fields, what of them is forwarded, and reading the client's address out
//! of them. Leaves which peers are trusted to `connection::Peer`. Invariant: fields of a trusted
//! peer are forwarded and added to; all fields of any other peer are dropped and replaced.

use std::net::IpAddr;

use bus::HeadWriter;
use http1::Request;

use crate::connection::{Connection, Peer};

const FOR: &[u8] = b"x-forwarded-for";
const PROTO: &[u8] = b"x-forwarded-proto";
const HOST: &[u8] = b"x-forwarded-host";
const FORWARDED: &[u8] = b"forwarded";

/// Fields without the prefix `x-forwarded` in which proxies report where a request came from.
const OTHERS: [&[u8]; 9] = [
    FORWARDED,
    b"x-real-ip",
    b"x-client-ip",
    b"x-cluster-client-ip",
    b"x-original-forwarded-for",
    b"x-proxyuser-ip",
    b"true-client-ip",
    b"cf-connecting-ip",
    b"fastly-client-ip",
];

/// True when a field of this name reports where a request came from. Such a field is not dropped
/// when `Connection` names it: a client could remove a proxy's report that way.
#[inline]
pub(super) fn is_forwarding(name: &[u8]) -> bool {
    // CGI and its successors treat an underscore as a dash.
    let is_same = |known: &[u8]| {
        let same = |(byte, known): (&u8, &u8)| byte == known || (*byte == b'_' && *known == b'-');
        name.len() >= known.len() && name.iter().zip(known).all(same)
    };
    matches!(name.first(), Some(b'c' | b'f' | b't' | b'x'))
        && (is_same(b"x-forwarded") || OTHERS.iter().any(|known| name.len() == known.len() && is_same(known)))
}

/// Which of these fields a trusted peer sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Forwarding {
    addresses: bool,
    proto: bool,
    host: bool,
    forwarded: bool,
    others: bool,
}

impl Forwarding {
    /// Notes that a field of this name is there.
    #[inline]
    pub(super) fn note(&mut self, name: &[u8]) {
        match name {
            FOR => self.addresses = true,
            PROTO => self.proto = true,
            HOST => self.host = true,
            FORWARDED => self.forwarded = true,
            _ => self.others |= is_forwarding(name),
        }
    }

    /// True when the field is forwarded unchanged.
    pub(super) fn forwards(self, name: &[u8]) -> bool {
        match name {
            // [`Forwarding::write`] appends to them.
            FOR | FORWARDED => false,
            PROTO => self.proto,
            HOST => self.host,
            _ => self.others,
        }
    }

    /// Writes the terminator's own fields, joined with those of a trusted peer.
    pub(super) fn write(
        self,
        request: Request<'_>,
        head: &mut HeadWriter<'_>,
        peer: &Peer,
        authority: &[u8],
        scheme: &str,
    ) {
        let client = peer.text.as_bytes();
        if self.addresses {
            write_joined(request, head, FOR, client);
        } else if !client.is_empty() {
            head.field(FOR, client);
        }
        if self.forwarded {
            write_joined(request, head, FORWARDED, &element(peer, authority, scheme));
        }
        if !self.proto {
            head.field(PROTO, scheme);
        }
        if !self.host && !authority.is_empty() {
            head.field(HOST, authority);
        }
    }
}

/// Writes one field with the values that `request` has, then `ours`, separated by commas.
#[cold]
fn write_joined(request: Request<'_>, head: &mut HeadWriter<'_>, name: &[u8], ours: &[u8]) {
    let came = request.called(name);
    let mut pieces: Vec<&[u8]> = Vec::new();
    for piece in came.chain(std::iter::once(ours)).filter(|piece| !piece.is_empty()) {
        if !pieces.is_empty() {
            pieces.push(b", ");
        }
        pieces.push(piece);
    }
    head.field_pieces(std::str::from_utf8(name).expect("names are ASCII"), &pieces);
}

/// The terminator's element of `Forwarded` (RFC 7239 section 4): an IPv6 address is in brackets,
/// and values that are not tokens are quoted.
fn element(peer: &Peer, authority: &[u8], scheme: &str) -> Vec<u8> {
    let client = match peer.ip {
        Some(IpAddr::V6(ip)) => format!("\"[{ip}]\""),
        Some(ip) => ip.to_string(),
        None => "unknown".to_owned(),
    };
    let mut element = format!("for={client};proto={scheme}").into_bytes();
    if !authority.is_empty() {
        // No escaping is needed: a valid host has neither quotes nor backslashes.
        element.extend_from_slice(b";host=\"");
        element.extend_from_slice(authority);
        element.push(b'"');
    }
    element
}

/// Reads the address out of one member of a chain of proxies.
type Read = fn(&[u8]) -> Option<IpAddr>;

/// Members of a chain of proxies that are read, from the right.
const CHAIN_MAX: usize = 32;

/// The address of the request's client: the rightmost address, in the chain that trusted proxies
/// report, that is not itself a trusted proxy.
#[cold]
pub(super) fn client(
    request: Request<'_>,
    connection: &Connection,
    forwarding: Forwarding,
) -> Option<IpAddr> {
    let (name, read): (_, Read) = if forwarding.addresses {
        (FOR, address)
    } else if forwarding.forwarded {
        (FORWARDED, |element| address(for_of(element)?))
    } else {
        return connection.peer.ip;
    };
    let values: Vec<&[u8]> = request.called(name).collect();
    let members = values.iter().rev().flat_map(|value| value.rsplit(|byte| *byte == b','));
    let mut client = connection.peer.ip;
    for address in members.take(CHAIN_MAX).map_while(read) {
        client = Some(address);
        if !connection.worker.config.trusted_proxies.iter().any(|proxy| proxy.is(client)) {
            break;
        }
    }
    client
}

/// The value of `for` in one element of `Forwarded`.
fn for_of(element: &[u8]) -> Option<&[u8]> {
    element.split(|byte| *byte == b';').find_map(|pair| {
        let (name, value) = pair.trim_ascii().split_at_checked(4)?;
        name.eq_ignore_ascii_case(b"for=").then_some(value)
    })
}

/// Parses an address as proxies write it: bare, with a port, in brackets, or in quotes.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim().trim_matches('"');
    let bracketed = || text.strip_prefix('[')?.split(']').next()?.parse().ok();
    let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    text.parse().ok().or_else(bracketed).or_else(with_port).map(|ip: IpAddr| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_the_kind_is_known() {
        for name in [
            "x-forwarded-for",
            "x-forwarded-port",
            "x-forwarded-ssl",
            "forwarded",
            "x-real-ip",
            "true-client-ip",
            "x_forwarded_for",
            "cf-connecting-ip",
        ] {
            assert!(is_forwarding(name.as_bytes()), "{name}");
        }
        for name in ["x-forward", "xforwarded", "real-ip", "forwarded-x", "x-request-id"] {
            assert!(!is_forwarding(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn addresses_are_read_as_proxies_write_them() {
        for (text, ip) in [
            (" 192.0.2.1 ", Some("192.0.2.1")),
            ("192.0.2.1:80", Some("192.0.2.1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("\"[2001:db8::1]:80\"", Some("2001:db8::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("::ffff:192.0.2.1", Some("192.0.2.1")),
            ("unknown", None),
            ("_hidden", None),
        ] {
            assert_eq!(address(text.as_bytes()), ip.map(|ip| ip.parse().unwrap()), "{text}");
        }
        assert_eq!(for_of(b" proto=http; For=\"[::1]\";by=_a"), Some(&b"\"[::1]\""[..]));
        assert_eq!(for_of(b"proto=http"), None);
    }

    #[test]
    fn our_element_quotes_what_is_no_token() {
        let peer = |ip: &str| Peer { ip: ip.parse().ok(), text: ip.into(), is_trusted: true };
        for (ip, host, expected) in [
            ("192.0.2.1", "a:80", "for=192.0.2.1;proto=http;host=\"a:80\""),
            ("::1", "", "for=\"[::1]\";proto=http"),
            ("", "a", "for=unknown;proto=http;host=\"a\""),
        ] {
            assert_eq!(element(&peer(ip), host.as_bytes(), "http"), expected.as_bytes());
        }
    }
}
