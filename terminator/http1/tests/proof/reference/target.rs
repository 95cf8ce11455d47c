//! The reference's request targets (RFC 9112 section 3.2) and hosts (RFC 3986 section 3.2).

use crate::outcome::Request;

/// A request with `target`, `path` and `authority` filled in.
pub(super) fn parse(method: &[u8], target: &[u8]) -> Option<Request> {
    // A target is ASCII.
    let target = std::str::from_utf8(target).ok().filter(|target| target.is_ascii())?;
    if method == b"CONNECT" {
        // RFC 9110 section 9.3.6: host and port, both required.
        let (host, port) = target.rsplit_once(':')?;
        let is_authority =
            !host.is_empty() && is_host(host) && !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let authority = Some(target.to_owned());
        return is_authority.then(|| Request { authority, ..Request::default() });
    }
    if target == "*" {
        let request = || Request { target: "*".to_owned(), path: "*".to_owned(), ..Request::default() };
        return (method == b"OPTIONS").then(request);
    }
    if target.starts_with('/') {
        return path_and_query(target);
    }
    let (scheme, behind) = target.split_once("://")?;
    // Choice: schemes other than `http` and `https` are refused.
    if !["http", "https"].contains(&&scheme.to_ascii_lowercase()[..]) {
        return None;
    }
    let end = behind.find(['/', '?']).unwrap_or(behind.len());
    let (authority, behind) = behind.split_at(end);
    // RFC 9110 sections 4.2.1 and 4.2.4: no empty host, no user.
    if authority.is_empty() || authority.starts_with(':') || !is_host_and_port(authority.as_bytes()) {
        return None;
    }
    // RFC 9112 section 3.2.1: an empty path is sent as `/`; section 3.2.4: for OPTIONS it is `*`.
    let path_and_target = match behind {
        "" if method == b"OPTIONS" => parse(method, b"*")?,
        _ if behind.starts_with('/') => path_and_query(behind)?,
        _ => path_and_query(&format!("/{behind}"))?,
    };
    Some(Request { authority: Some(authority.to_owned()), ..path_and_target })
}

fn path_and_query(target: &str) -> Option<Request> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    // RFC 3986 sections 3.3 and 3.4. Choice: bytes that browsers do not escape are accepted, and
    // the escapes of a query are not checked.
    let browsers = "\"[\\]^`{|}";
    let is_path = |c: char| is_unreserved_or_delim(c) || ":@/%".contains(c) || browsers.contains(c);
    let is_query = |c: char| is_path(c) || c == '?';
    let is_valid = path.chars().all(is_path) && query.chars().all(is_query) && escapes_are_whole(path);
    let parts = || Request { target: target.to_owned(), path: path.to_owned(), ..Request::default() };
    is_valid.then(parts)
}

/// `uri-host [ ":" port ]` (RFC 9110 section 7.2).
pub(super) fn is_host_and_port(value: &[u8]) -> bool {
    let Ok(value) = std::str::from_utf8(value) else { return false };
    let behind_literal = value.rfind(']').map_or(0, |at| at + 1);
    match value[behind_literal..].find(':') {
        Some(colon) => {
            let (host, port) = value.split_at(behind_literal + colon);
            is_host(host) && port[1..].bytes().all(|byte| byte.is_ascii_digit())
        }
        None => is_host(value),
    }
}

/// `IP-literal / IPv4address / reg-name` (RFC 3986 section 3.2.2); every IPv4 address is a
/// registered name as well.
fn is_host(host: &str) -> bool {
    if let Some(literal) = host.strip_prefix('[') {
        return literal.strip_suffix(']').is_some_and(|literal| is_ipv6(literal) || is_future(literal));
    }
    host.chars().all(|c| is_unreserved_or_delim(c) || c == '%') && escapes_are_whole(host)
}

/// Eight groups, or fewer with one `::` that stands for at least one; the last two may be an IPv4
/// address.
fn is_ipv6(text: &str) -> bool {
    let groups = |text: &str, is_last: bool| -> Option<usize> {
        if text.is_empty() {
            return Some(0);
        }
        let parts: Vec<&str> = text.split(':').collect();
        let mut count = 0;
        for (at, part) in parts.iter().enumerate() {
            let is_group = (1..=4).contains(&part.len()) && part.chars().all(|c| c.is_ascii_hexdigit());
            count += match is_group {
                true => 1,
                false if is_last && at + 1 == parts.len() && is_ipv4(part) => 2,
                false => return None,
            };
        }
        Some(count)
    };
    match text.split_once("::") {
        None => groups(text, true) == Some(8),
        Some((front, back)) => {
            let count = groups(front, false).zip(groups(back, true)).map(|(front, back)| front + back);
            count.is_some_and(|count| count <= 7)
        }
    }
}

fn is_ipv4(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    let is_octet = |part: &&str| {
        (1..=3).contains(&part.len())
            && part.chars().all(|c| c.is_ascii_digit())
            && (part.len() == 1 || !part.starts_with('0'))
            && part.parse::<u16>().is_ok_and(|value| value <= 255)
    };
    parts.len() == 4 && parts.iter().all(is_octet)
}

/// `"v" 1*HEXDIG "." 1*( unreserved / sub-delims / ":" )`.
fn is_future(literal: &str) -> bool {
    let Some((version, name)) = literal.split_once('.') else { return false };
    let Some(version) = version.strip_prefix(['v', 'V']) else { return false };
    let is_version = !version.is_empty() && version.chars().all(|c| c.is_ascii_hexdigit());
    is_version && !name.is_empty() && name.chars().all(|c| is_unreserved_or_delim(c) || c == ':')
}

fn is_unreserved_or_delim(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=".contains(c)
}

fn escapes_are_whole(text: &str) -> bool {
    text.split('%').skip(1).all(|behind| {
        behind.len() >= 2 && behind.is_char_boundary(2) && behind[..2].chars().all(|c| c.is_ascii_hexdigit())
    })
}
