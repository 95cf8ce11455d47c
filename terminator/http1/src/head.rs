//! Parsing the head of a request, line by line.
//!
//! Owns the request line, the positions of the head's parts, and the limits of its length and its
//! number of fields. Leaves the target to `target`, the meaning of fields to `semantics`, and the
//! bytes to the caller. Invariant: each line is parsed once, or twice when the head is read in
//! pieces, so a head costs time linear in its length.

use std::ops::Range;

use crate::grammar::{TOKEN_LOWER, control};
use crate::limits::{HEAD_LEN_MAX, OPTIONS_MAX};
use crate::options::{Options, is_hop_by_hop};
use crate::semantics::{Body, Semantics};
use crate::target::{self, Target};
use crate::{Error, Field, Limits, field};

/// The positions of the parts of a request's head in its bytes. Reused for one request after the
/// other, of any connection, it does not allocate.
#[derive(Clone, Debug, Default)]
pub struct Head {
    method: Span,
    /// Path and query.
    target: Span,
    path: Span,
    authority: Option<Span>,
    is_1_0: bool,
    fields: Vec<Place>,
    pub(crate) semantics: Semantics,
}

/// The position of one part of a head.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: u16,
    end: u16,
}

impl Span {
    #[inline]
    fn new(start: usize, end: usize) -> Self {
        let short = |at| u16::try_from(at).expect("a head has at most 65 535 bytes");
        Self { start: short(start), end: short(end) }
    }

    #[inline]
    fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[usize::from(self.start)..usize::from(self.end)]
    }

    #[inline]
    fn text(self, bytes: &[u8]) -> &str {
        std::str::from_utf8(self.of(bytes)).expect("methods and targets are ASCII")
    }
}

#[derive(Clone, Copy, Debug)]
struct Place {
    name: Span,
    value: Span,
    ends_here: bool,
}

/// How much of the head at the front of the input has been checked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// Start of the first incomplete line.
    line: u32,
    /// Length of the input that was searched for the end of that line.
    searched: u32,
    fields: u32,
}

/// A request line.
struct RequestLine {
    method_len: usize,
    target: Range<usize>,
    is_1_0: bool,
}

impl Head {
    /// The request whose head is at the front of `bytes`.
    #[inline]
    #[must_use]
    pub fn request<'a>(&'a self, bytes: &'a [u8]) -> Request<'a> {
        Request { head: self, bytes }
    }

    /// True when the method is HEAD.
    #[inline]
    pub(crate) fn is_head(&self, bytes: &[u8]) -> bool {
        self.method.of(bytes) == b"HEAD"
    }

    /// Continues with the head at the front of `input`. Returns the length of the head and of its
    /// body once the head is complete.
    #[inline]
    pub(crate) fn read(
        &mut self,
        progress: &mut Progress,
        input: &mut [u8],
        limits: &Limits,
    ) -> Result<Option<(usize, Body)>, Error> {
        let in_pieces = progress.line > 0;
        if !self.lines(progress, input, limits)? {
            return Ok(None);
        }
        if in_pieces {
            // Another connection may have used `self` since the first lines: read them once more.
            *progress = Progress::default();
            self.lines(progress, input, limits)?;
        }
        let len = progress.line as usize;
        let body = self.complete(&mut input[..len])?;
        Ok(Some((len, body)))
    }

    /// Parses the complete lines. True when the empty line that ends the head is among them;
    /// `progress.line` is then the length of the head.
    #[inline]
    fn lines(&mut self, progress: &mut Progress, input: &mut [u8], limits: &Limits) -> Result<bool, Error> {
        let len_max = limits.head_len_max.min(HEAD_LEN_MAX);
        let Progress { line, searched, mut fields } = *progress;
        let (mut start, mut searched) = (line as usize, searched as usize);
        if start == 0 {
            self.fields.clear();
            self.semantics = Semantics::default();
            if input.first().is_some_and(|byte| TOKEN_LOWER[usize::from(*byte)] == 0) {
                return Err(Error::RequestLine);
            }
        }
        loop {
            // `is_clean` only covers the bytes searched now; a line that was searched in parts is
            // searched for control characters once more.
            let is_new = searched == start;
            let (found, is_clean) = end_of_line(&input[searched..]);
            let behind = found.map_or(input.len(), |at| searched + at + 1);
            if behind > len_max {
                return Err(match start {
                    0 => Error::TargetTooLong { limit: len_max },
                    _ => Error::HeadTooLong { limit: len_max },
                });
            }
            if found.is_none() {
                let short = |at: usize| u32::try_from(at).expect("a head has at most 65 535 bytes");
                *progress = Progress { line: short(start), searched: short(behind), fields };
                return Ok(false);
            }
            let Some(line) = input[start..behind - 1].strip_suffix(b"\r") else { return Err(Error::LineEnd) };
            let end = start + line.len();
            if start == 0 {
                let line = request_line(line)?;
                self.keep_request_line(&line, input)?;
            } else if end == start {
                progress.line = u32::try_from(behind).expect("a head has at most 65 535 bytes");
                return Ok(true);
            } else {
                fields += 1;
                if fields as usize > limits.fields_max {
                    return Err(Error::TooManyFields { limit: limits.fields_max });
                }
                let line = &mut input[start..end];
                let name_len =
                    if is_new && is_clean { field::check_name(line)? } else { field::check(line)? };
                self.keep_field(&input[start..end], start, name_len);
            }
            (start, searched) = (behind, behind);
        }
    }

    fn keep_request_line(&mut self, line: &RequestLine, input: &[u8]) -> Result<(), Error> {
        let RequestLine { method_len, target, is_1_0 } = line;
        let (method, bytes) = (&input[..*method_len], &input[target.clone()]);
        // With a space in it the request line has too many words.
        let is_wrong = |error| if bytes.contains(&b' ') { Error::RequestLine } else { error };
        let Target { authority, path } = target::parse(method, bytes).map_err(is_wrong)?;
        let at = |range: Range<usize>| Span::new(target.start + range.start, target.start + range.end);
        self.method = Span::new(0, *method_len);
        self.target = Span::new(target.start + path.start, target.end);
        self.path = at(path);
        self.authority = authority.map(at);
        self.is_1_0 = *is_1_0;
        Ok(())
    }

    #[inline]
    fn keep_field(&mut self, line: &[u8], start: usize, name_len: usize) {
        let name = &line[..name_len];
        let (at, value) = field::value(line, name_len);
        self.semantics.add(name, value);
        self.fields.push(Place {
            name: Span::new(start, start + name_len),
            value: Span::new(start + at, start + at + value.len()),
            ends_here: is_hop_by_hop(name),
        });
    }

    /// Applies the rules that need all fields; returns the length of the body.
    #[inline]
    fn complete(&mut self, bytes: &mut [u8]) -> Result<Body, Error> {
        let body = self.semantics.body(self.is_1_0)?;
        if self.semantics.wishes.count > OPTIONS_MAX {
            return Err(Error::TooManyOptions { limit: OPTIONS_MAX });
        }
        if self.semantics.wishes.named {
            let values = self.fields.iter().filter(|place| place.name.of(bytes) == b"connection");
            let options = Options::of(values.map(|place| place.value.of(bytes)))?;
            for place in &mut self.fields {
                place.ends_here |= options.name(place.name.of(bytes));
            }
        }
        if let Some(authority) = self.authority
            && authority.end == self.path.end
            && self.method.of(bytes) != b"CONNECT"
        {
            self.give_path(authority, bytes);
        }
        Ok(body)
    }

    /// Writes the implied path of a target in absolute form without a path: `/`, or `*` for OPTIONS
    /// without a query (RFC 9112 sections 3.2.2 and 3.2.4). Moves the authority over the slash in
    /// front of it to make room.
    #[cold]
    fn give_path(&mut self, authority: Span, bytes: &mut [u8]) {
        let (start, end) = (usize::from(authority.start), usize::from(authority.end));
        bytes.copy_within(start..end, start - 1);
        let is_server = self.method.of(bytes) == b"OPTIONS" && self.target.end == authority.end;
        bytes[end - 1] = if is_server { b'*' } else { b'/' };
        self.authority = Some(Span::new(start - 1, end - 1));
        self.path = Span::new(end - 1, end);
        self.target.start -= 1;
    }
}

/// Position of the LF that ends the line at the front of `input`; true when there is no control
/// character before its CRLF.
#[inline]
fn end_of_line(input: &[u8]) -> (Option<usize>, bool) {
    let Some(at) = control(input) else { return (None, true) };
    match &input[at..] {
        [b'\r', b'\n', ..] => (Some(at + 1), true),
        rest => (memchr::memchr(b'\n', rest).map(|behind| at + behind), false),
    }
}

/// Splits `METHOD SP TARGET SP HTTP/1.x` (RFC 9112 section 3).
#[inline]
fn request_line(line: &[u8]) -> Result<RequestLine, Error> {
    let method_len = line.iter().position(|byte| TOKEN_LOWER[usize::from(*byte)] == 0);
    let method_len = method_len.filter(|at| line[*at] == b' ').ok_or(Error::RequestLine)?;
    let (rest, version) = line.split_last_chunk::<9>().ok_or(Error::RequestLine)?;
    let target = method_len + 1..rest.len();
    if target.is_empty() {
        return Err(Error::RequestLine);
    }
    let is_1_0 = match version {
        b" HTTP/1.1" => false,
        b" HTTP/1.0" => true,
        // A higher minor version is treated as the highest known one (RFC 9110 section 2.5).
        [b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9'] => false,
        [b' ', b'H', b'T', b'T', b'P', b'/', b'0' | b'2'..=b'9', b'.', b'0'..=b'9'] => {
            let is_target = !rest[target].contains(&b' ');
            return Err(if is_target { Error::Version } else { Error::RequestLine });
        }
        _ => return Err(Error::RequestLine),
    };
    Ok(RequestLine { method_len, target, is_1_0 })
}

/// A request's head: a [`Head`] and the bytes that it was parsed from.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    head: &'a Head,
    bytes: &'a [u8],
}

impl<'a> Request<'a> {
    /// The method, a token in the case in which it was sent.
    #[inline]
    #[must_use]
    pub fn method(self) -> &'a str {
        self.head.method.text(self.bytes)
    }

    /// Path and query; `*` for OPTIONS of the server itself, empty for CONNECT.
    #[inline]
    #[must_use]
    pub fn target(self) -> &'a str {
        self.head.target.text(self.bytes)
    }

    /// The path without the query.
    #[inline]
    #[must_use]
    pub fn path(self) -> &'a str {
        self.head.path.text(self.bytes)
    }

    /// The authority of a target in absolute form, which overrides `Host` (RFC 9112 section 3.2.2),
    /// or of CONNECT.
    #[inline]
    #[must_use]
    pub fn authority(self) -> Option<&'a [u8]> {
        self.head.authority.map(|authority| authority.of(self.bytes))
    }

    /// True for HTTP/1.0.
    #[inline]
    #[must_use]
    pub fn is_1_0(self) -> bool {
        self.head.is_1_0
    }

    /// The protocols that the client offers to upgrade to (RFC 9110 section 7.8), if any.
    #[must_use]
    pub fn upgrade(self) -> Option<&'a [u8]> {
        let asks = self.head.semantics.wishes.upgrade && !self.is_1_0();
        self.called(b"upgrade").next().filter(|_| asks)
    }

    /// The fields, in their order.
    #[inline]
    pub fn fields(self) -> impl Iterator<Item = Field<'a>> {
        self.head.fields.iter().map(move |place| Field {
            name: place.name.of(self.bytes),
            value: place.value.of(self.bytes),
            ends_here: place.ends_here,
        })
    }

    /// The values of the fields with this name, which is in lower case.
    #[inline]
    pub fn called(self, name: &[u8]) -> impl Iterator<Item = &'a [u8]> {
        self.fields().filter(move |field| field.name == name).map(|field| field.value)
    }
}
