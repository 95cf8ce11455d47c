//! A plain request's head as hyper would read it, and its response's as hyper would write it.
//!
//! Owns: what makes a request plain. Does not: parse (`httparse` does, as in hyper), nor touch a socket.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::time::SystemTime;

use http::{Method, StatusCode};
use smallvec::SmallVec;

use crate::config::Limits;
use crate::limits::HEADER_COUNT;
use crate::request::{Fields, StartLine, bytes_of};
use crate::response::Answer;

/// Fields that need no memory of their own: a browser sends some twenty.
const FIELDS: usize = 32;

/// Bytes of a target that mean what they say to everybody: those of a path and a query (RFC 3986 section 3.3).
const TARGET: [bool; 256] =
    bytes_of(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@%/?");

/// The fields of a plain request; their names are in lower case by now.
#[derive(Debug)]
pub(super) struct Plain<'a> {
    bytes: &'a [u8],
    places: SmallVec<[Place; FIELDS]>,
}

/// Where a field lies: small, since it is moved about.
#[derive(Clone, Copy, Debug)]
struct Place {
    name: Part,
    value: Part,
}

/// A part of a head.
#[derive(Clone, Copy, Debug)]
struct Part {
    start: u16,
    end: u16,
}

impl Part {
    /// Where `part` lies in `bytes`, of which it is a slice; `None` when that is too far behind.
    #[inline]
    fn new(bytes: &[u8], part: &[u8]) -> Option<Self> {
        let start = part.as_ptr().addr() - bytes.as_ptr().addr();
        Some(Self { start: u16::try_from(start).ok()?, end: u16::try_from(start + part.len()).ok()? })
    }

    #[inline]
    fn range(self) -> Range<usize> {
        usize::from(self.start)..usize::from(self.end)
    }
}

impl Fields for Plain<'_> {
    #[inline]
    fn each(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.places.iter().map(|place| (&self.bytes[place.name.range()], &self.bytes[place.value.range()]))
    }
}

/// Gives to `take` the request that `bytes` are: its line, its fields, its body. `None`, and `bytes` as they were, when they
/// are not one plain request and nothing else.
pub(super) fn read<T>(
    bytes: &mut [u8],
    limits: &Limits,
    take: impl FnOnce(&StartLine<'_>, &Plain<'_>, &[u8]) -> T,
) -> Option<T> {
    let Found { method, target, places, head_len } = find(bytes, limits)?;
    let (head, body) = bytes.split_at_mut(head_len);
    for place in &places {
        head[place.name.range()].make_ascii_lowercase();
    }
    let target =
        std::str::from_utf8(&head[target.range()]).expect("it is of bytes of TARGET, which are ASCII");
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    let line = StartLine { method: &method, target, path, authority: None, is_1_0: false };
    Some(take(&line, &Plain { bytes: head, places }, body))
}

/// Where the parts of a plain request lie.
struct Found {
    method: Method,
    target: Part,
    places: SmallVec<[Place; FIELDS]>,
    head_len: usize,
}

fn find(bytes: &[u8], limits: &Limits) -> Option<Found> {
    // An empty line may come before a request; hyper knows about those.
    if !bytes.first()?.is_ascii_uppercase() {
        return None;
    }
    let mut fields = [const { MaybeUninit::uninit() }; HEADER_COUNT];
    let count = limits.header_count.min(HEADER_COUNT);
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(bytes, &mut fields[..count]).ok()?;
    let httparse::Status::Complete(head_len) = parsed else { return None };
    let target = request.path?.as_bytes();
    let method = method(request.method?)?;
    let mut body_len = None;
    let mut places = SmallVec::new();
    for field in &*request.headers {
        if !is_plain(field.name, field.value, &mut body_len) {
            return None;
        }
        let name = Part::new(bytes, field.name.as_bytes())?;
        places.push(Place { name, value: Part::new(bytes, field.value)? });
    }
    let body_len = body_len.unwrap_or(0);
    let is_plain = request.version == Some(1)
        && target.starts_with(b"/")
        && target.iter().all(|byte| TARGET[usize::from(*byte)])
        && head_len <= limits.header_bytes
        && body_len <= limits.body_bytes
        && bytes.len() - head_len == body_len;
    is_plain.then_some(Found { method, target: Part::new(bytes, target)?, places, head_len })
}

/// The methods whose requests are plain. HEAD is not: its response has a length and no body.
#[inline]
fn method(name: &str) -> Option<Method> {
    Some(match name {
        "GET" => Method::GET,
        "POST" => Method::POST,
        "PUT" => Method::PUT,
        "DELETE" => Method::DELETE,
        "PATCH" => Method::PATCH,
        "OPTIONS" => Method::OPTIONS,
        _ => return None,
    })
}

/// Whether the header leaves the connection as it is, and the body as long as one `Content-Length` says, which becomes
/// `body_len`.
#[inline]
fn is_plain(name: &str, value: &[u8], body_len: &mut Option<usize>) -> bool {
    let ends_here = match name.len() {
        6 => name.eq_ignore_ascii_case("expect"),
        7 => name.eq_ignore_ascii_case("upgrade"),
        10 => name.eq_ignore_ascii_case("connection") && !value.eq_ignore_ascii_case(b"keep-alive"),
        14 if name.eq_ignore_ascii_case("content-length") => {
            body_len.is_some() || {
                *body_len = length(value);
                body_len.is_none()
            }
        }
        17 => name.eq_ignore_ascii_case("transfer-encoding"),
        _ => false,
    };
    !ends_here
}

/// A length of digits alone (RFC 9110 section 8.6), and not of very many.
fn length(value: &[u8]) -> Option<usize> {
    if !(1..=9).contains(&value.len()) {
        return None;
    }
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| usize::from(byte - b'0'));
    value.iter().try_fold(0, |sum, byte| Some(sum * 10 + digit(byte)?))
}

/// Whether a response of this status to a plain request has a body (RFC 9110 sections 15.3.5 and 15.4.5).
pub(super) fn has_body(status: StatusCode) -> bool {
    !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Writes the head of `answer` into `out`. Whether it says that the connection closes: because it has to, or of itself.
pub(super) fn write(
    answer: &Answer,
    body_len: usize,
    has_to_close: bool,
    date: &str,
    out: &mut Vec<u8>,
) -> bool {
    let status = answer.status();
    if status == StatusCode::OK {
        put(out, &[b"HTTP/1.1 200 OK\r\n"]);
    } else {
        let reason = status.canonical_reason().unwrap_or("<none>");
        put(out, &[b"HTTP/1.1 ", status.as_str().as_bytes(), b" ", reason.as_bytes(), b"\r\n"]);
    }
    let (mut dated, mut closes) = (false, false);
    answer.each_header(|name, value| {
        dated |= name == b"date";
        // No other one comes this far: a reply's are dropped.
        closes |= name == b"connection";
        put(out, &[name, b": ", value, b"\r\n"]);
    });
    if has_to_close && !closes {
        put(out, &[b"connection: close\r\n"]);
    }
    if has_body(status) {
        put(out, &[b"content-length: ", itoa::Buffer::new().format(body_len).as_bytes(), b"\r\n"]);
    }
    if !dated {
        put(out, &[b"date: ", date.as_bytes(), b"\r\n"]);
    }
    put(out, &[b"\r\n"]);
    has_to_close || closes
}

#[inline]
fn put(out: &mut Vec<u8>, pieces: &[&[u8]]) {
    pieces.iter().for_each(|piece| out.extend_from_slice(piece));
}

/// The `Date` of responses, as exact as the worker's coarse clock.
#[derive(Debug, Default)]
pub(super) struct Date {
    text: String,
    at_ms: u64,
}

impl Date {
    /// The date at `now_ms` of the coarse clock.
    pub(super) fn at(&mut self, now_ms: u64) -> &str {
        if self.at_ms != now_ms || self.text.is_empty() {
            self.text = httpdate::fmt_http_date(SystemTime::now());
            self.at_ms = now_ms;
        }
        &self.text
    }
}
