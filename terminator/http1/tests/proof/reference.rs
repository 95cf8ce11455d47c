//! A second parser of HTTP/1.1 requests, written from RFC 9110, 9112 and 3986 alone: slow, obvious,
//! and without code of the crate.
//!
//! Owns the verdict on a complete input, after which the client sends nothing. Leaves cutting the
//! input into reads to the callers. Where the RFCs leave a choice, or the crate is stricter by
//! design, a comment says `Choice`. Of several errors the one decides that the earliest byte shows;
//! of those that only the whole head shows: framing, then Host, then Connection.

#[path = "reference/target.rs"]
mod target;

use http1::Limits;

use crate::outcome::{Field, Outcome, Request};

type Refusal = u16;
const BAD: Refusal = 400;

/// All outcomes of a connection on which the client sends `input` and nothing more.
pub(crate) fn read(input: &[u8], limits: &Limits) -> Vec<Outcome> {
    let mut rest = input;
    let mut outcomes = Vec::new();
    loop {
        // RFC 9112 section 2.2: a server ignores empty lines in front of a request line.
        while rest.starts_with(b"\r\n") {
            rest = &rest[2..];
        }
        if rest.is_empty() || rest == b"\r" {
            return outcomes;
        }
        match message(&mut rest, limits) {
            Ok(request) => {
                let goes_on = request.goes_on;
                outcomes.push(Outcome::Request(Box::new(request)));
                if !goes_on {
                    return outcomes;
                }
            }
            Err(status) => {
                outcomes.push(Outcome::Refused(status));
                return outcomes;
            }
        }
    }
}

/// Takes a line with its CRLF off the front of `rest`; `left` is the longest that it may be.
/// Choice: a bare LF does not end a line. A bare CR is part of no element (RFC 9112 section 2.2),
/// so the functions that parse the line refuse it.
fn line<'a>(rest: &mut &'a [u8], left: usize, too_long: Refusal) -> Result<&'a [u8], Refusal> {
    let newline = rest.iter().position(|byte| *byte == b'\n');
    let len = newline.map_or(rest.len(), |at| at + 1);
    if len > left {
        return Err(too_long);
    }
    if newline.is_none() {
        return Err(BAD);
    }
    let (line, behind) = rest.split_at(len);
    *rest = behind;
    line.strip_suffix(b"\r\n").ok_or(BAD)
}

fn message(rest: &mut &[u8], limits: &Limits) -> Result<Request, Refusal> {
    // Choice: the limit of a head is at most 65 535 bytes.
    let head_len_max = limits.head_len_max.min(65_535);
    let start = rest.len();
    // Choice: a byte that cannot begin a method is refused before its line ends.
    if !is_tchar(rest[0]) {
        return Err(BAD);
    }
    let mut request = request_line(line(rest, head_len_max, 414)?)?;
    loop {
        let read = start - rest.len();
        let line = line(rest, head_len_max - read, 431)?;
        if line.is_empty() {
            break;
        }
        if request.fields.len() == limits.fields_max {
            return Err(431);
        }
        let (name, value) = field(line)?;
        request.fields.push(Field { name, value, ends_here: false });
    }
    let framing = framing(&request)?;
    check_host(&request)?;
    connection(&mut request)?;
    match framing {
        Framing::Length(length) if length > u128::from(limits.body_len_max) => return Err(413),
        Framing::Length(length) => {
            request.expects &= length > 0;
            let length = usize::try_from(length).map_err(|_| BAD)?;
            if rest.len() < length {
                return Err(BAD);
            }
            request.body = rest[..length].to_vec();
            *rest = &rest[length..];
        }
        Framing::Chunked => chunked(rest, &mut request, limits)?,
    }
    Ok(request)
}

/// RFC 9112 section 3: `method SP request-target SP HTTP-version`.
fn request_line(line: &[u8]) -> Result<Request, Refusal> {
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let [method, target, version] = words[..] else { return Err(BAD) };
    if !is_token(method) || target.is_empty() {
        return Err(BAD);
    }
    // RFC 9112 section 2.3: `HTTP/` DIGIT `.` DIGIT, in capitals.
    let is_1_0 = match version {
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if digits(&[*major, *minor]) => {
            match (major, minor) {
                (b'1', b'0') => true,
                (b'1', _) => false,
                _ => return Err(505),
            }
        }
        _ => return Err(BAD),
    };
    let mut request = target::parse(method, target).ok_or(BAD)?;
    request.method = String::from_utf8(method.to_vec()).map_err(|_| BAD)?;
    request.is_1_0 = is_1_0;
    Ok(request)
}

/// RFC 9112 section 5: `field-name ":" OWS field-value OWS`; no white space before the colon, no
/// folding.
fn field(line: &[u8]) -> Result<(String, Vec<u8>), Refusal> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or(BAD)?;
    let name = &line[..colon];
    if !is_token(name) {
        return Err(BAD);
    }
    let value = &line[colon + 1..];
    // RFC 9110 section 5.5: visible bytes, obs-text, space and tab.
    if !value.iter().all(|byte| matches!(byte, b'\t' | 0x20..=0x7e | 0x80..=0xff)) {
        return Err(BAD);
    }
    let name = String::from_utf8(name.to_ascii_lowercase()).map_err(|_| BAD)?;
    Ok((name, without_space(value).to_vec()))
}

enum Framing {
    Length(u128),
    Chunked,
}

/// RFC 9112 section 6.
fn framing(request: &Request) -> Result<Framing, Refusal> {
    let lengths = values(request, "content-length");
    let codings = values(request, "transfer-encoding");
    match (&lengths[..], &codings[..]) {
        ([], []) => Ok(Framing::Length(0)),
        ([length], []) => {
            if length.is_empty() || !digits(length) {
                return Err(BAD);
            }
            let digit = |sum: u128, byte: &u8| (sum * 10 + u128::from(byte - b'0')).min(1 << 64);
            Ok(Framing::Length(length.iter().fold(0, digit)))
        }
        // Choice: a repeated length is refused even when the values are equal.
        ([_, _, ..], []) => Err(BAD),
        // Section 6.1: either a smuggling attempt or an error. Choice: refused.
        ([_, ..], [_, ..]) => Err(BAD),
        // Section 6.1: framing of HTTP/1.0 with a transfer coding is faulty.
        ([], [_, ..]) if request.is_1_0 => Err(BAD),
        ([], [_, ..]) => {
            // Choice: at most 31 commas in a list of codings, unless an earlier field names an
            // unknown coding.
            for value in &codings {
                let names = list(value);
                let many = value.iter().filter(|byte| **byte == b',').count() > 31;
                if !many && names.iter().any(|coding| coding != b"chunked") {
                    return Err(501);
                }
            }
            if codings.iter().any(|value| value.iter().filter(|byte| **byte == b',').count() > 31) {
                return Err(BAD);
            }
            let named: Vec<Vec<u8>> = codings.iter().flat_map(|value| list(value)).collect();
            if named.iter().any(|coding| coding != b"chunked") {
                return Err(501);
            }
            if named.len() == 1 && codings.len() == 1 { Ok(Framing::Chunked) } else { Err(BAD) }
        }
    }
}

/// RFC 9112 section 3.2: one valid Host, which HTTP/1.0 may leave out.
fn check_host(request: &Request) -> Result<(), Refusal> {
    match &values(request, "host")[..] {
        [] if request.is_1_0 => Ok(()),
        [host] if target::is_host_and_port(host) => Ok(()),
        _ => Err(BAD),
    }
}

/// RFC 9110 sections 7.6.1, 7.8 and 10.1.1, RFC 9112 section 9.3.
fn connection(request: &mut Request) -> Result<(), Refusal> {
    // Choice: each option is compared with each field, so their number is bounded; empty ones count
    // (RFC 9110 section 5.6.1.2).
    let count = |value: &Vec<u8>| value.iter().filter(|byte| **byte == b',').count() + 1;
    if values(request, "connection").iter().map(count).sum::<usize>() > 32 {
        return Err(431);
    }
    let options: Vec<Vec<u8>> = values(request, "connection").iter().flat_map(|value| list(value)).collect();
    let has = |option: &str| options.iter().any(|found| found == option.as_bytes());
    request.goes_on = !has("close") && (!request.is_1_0 || has("keep-alive"));
    request.expects = !request.is_1_0
        && values(request, "expect").iter().any(|value| value.eq_ignore_ascii_case(b"100-continue"));
    if has("upgrade") && !request.is_1_0 {
        request.upgrade = values(request, "upgrade").first().cloned();
    }
    // Choice: `Content-Length` is hop-by-hop, because the forwarded body is framed anew. `Close` is
    // a reserved name.
    let always = ["connection", "close", "content-length", "keep-alive", "proxy-connection", "te", "trailer"];
    let always = [&always[..], &["transfer-encoding", "upgrade"]].concat();
    for field in &mut request.fields {
        field.ends_here = always.contains(&&field.name[..]) || has(&field.name);
    }
    Ok(())
}

/// RFC 9112 section 7.1.
fn chunked(rest: &mut &[u8], request: &mut Request, limits: &Limits) -> Result<(), Refusal> {
    let mut extensions_len = 0;
    let mut announced: u128 = 0;
    loop {
        // Choice: lines of more than 1024 bytes, and extensions of more than 16 KiB in all, are
        // refused.
        let line = line(rest, 1024, BAD)?;
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        if digits == 0 {
            return Err(BAD);
        }
        let (digits, extensions) = line.split_at(digits);
        extensions_len += extensions.len();
        if extensions_len > 16_384 || !are_extensions(extensions) {
            return Err(BAD);
        }
        let hex = |sum: u128, byte: &u8| {
            let digit = char::from(*byte).to_digit(16).expect("it was looked at");
            (sum * 16 + u128::from(digit)).min(1 << 64)
        };
        let size = digits.iter().fold(0, hex);
        announced += size;
        if announced > u128::from(limits.body_len_max) {
            return Err(413);
        }
        if size == 0 {
            return trailers(rest, request, limits);
        }
        let size = usize::try_from(size).map_err(|_| BAD)?;
        if rest.len() < size + 2 || &rest[size..size + 2] != b"\r\n" {
            return Err(BAD);
        }
        request.body.extend_from_slice(&rest[..size]);
        *rest = &rest[size + 2..];
    }
}

/// RFC 9112 section 7.1.2. Choice: the limits of a head.
fn trailers(rest: &mut &[u8], request: &mut Request, limits: &Limits) -> Result<(), Refusal> {
    let start = rest.len();
    loop {
        let read = start - rest.len();
        let line = line(rest, limits.head_len_max - read, 431)?;
        if line.is_empty() {
            return Ok(());
        }
        if request.trailers.len() == limits.fields_max {
            return Err(431);
        }
        let (name, _) = field(line)?;
        let mut kept = line.to_vec();
        kept[..name.len()].copy_from_slice(name.as_bytes());
        request.trailers.push(kept);
    }
}

/// RFC 9112 section 7.1.1: `*( BWS ";" BWS name [ BWS "=" BWS value ] )`.
fn are_extensions(bytes: &[u8]) -> bool {
    let mut at = 0;
    let space = |at: &mut usize| {
        while matches!(bytes.get(*at), Some(b' ' | b'\t')) {
            *at += 1;
        }
    };
    let token = |at: &mut usize| {
        let start = *at;
        while bytes.get(*at).is_some_and(|byte| is_tchar(*byte)) {
            *at += 1;
        }
        *at > start
    };
    while at < bytes.len() {
        space(&mut at);
        if bytes.get(at) != Some(&b';') {
            return false;
        }
        at += 1;
        space(&mut at);
        if !token(&mut at) {
            return false;
        }
        let behind_name = at;
        space(&mut at);
        if bytes.get(at) != Some(&b'=') {
            at = behind_name;
            continue;
        }
        at += 1;
        space(&mut at);
        let is_value = if bytes.get(at) == Some(&b'"') { quoted(bytes, &mut at) } else { token(&mut at) };
        if !is_value {
            return false;
        }
    }
    true
}

/// RFC 9110 section 5.6.4.
fn quoted(bytes: &[u8], at: &mut usize) -> bool {
    *at += 1;
    loop {
        let escaped = bytes.get(*at) == Some(&b'\\');
        *at += usize::from(escaped);
        match bytes.get(*at) {
            Some(b'"') if !escaped => {
                *at += 1;
                return true;
            }
            Some(b'\t' | b' '..=b'~' | 0x80..=0xff) => *at += 1,
            _ => return false,
        }
    }
}

fn values(request: &Request, name: &str) -> Vec<Vec<u8>> {
    request.fields.iter().filter(|field| field.name == name).map(|field| field.value.clone()).collect()
}

/// RFC 9110 section 5.6.1.2: members in lower case; empty ones do not count.
fn list(value: &[u8]) -> Vec<Vec<u8>> {
    let members = value.split(|byte| *byte == b',').map(|member| without_space(member).to_ascii_lowercase());
    members.filter(|member| !member.is_empty()).collect()
}

fn without_space(mut value: &[u8]) -> &[u8] {
    while value.first().is_some_and(|byte| b" \t".contains(byte)) {
        value = &value[1..];
    }
    while value.last().is_some_and(|byte| b" \t".contains(byte)) {
        value = &value[..value.len() - 1];
    }
    value
}

fn digits(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_digit)
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_tchar(*byte))
}

/// RFC 9110 section 5.6.2.
fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
