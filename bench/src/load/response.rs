//! HTTP/1.1 responses, read as far as a load generator needs: status, end of the body, and whether
//! the connection stays open.
//!
//! Owns RFC 9112 section 6 (message body) and 7.1 (chunked). The caller counts the bytes of a body;
//! they are discarded unless requested. Invariant: any split of the stream gives the same result.

use std::mem::MaybeUninit;

/// Most header lines: more than any server here sends.
const HEADERS_MAX: usize = 64;
/// Longest head: anything longer is not HTTP.
const HEAD_LEN_MAX: usize = 64 << 10;

/// The result of one response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: u16,
    /// True when the connection can carry another request.
    pub(super) keep_alive: bool,
}

/// The bytes are not a response to the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Parses one response after another.
#[derive(Debug, Default)]
pub(super) struct Parser {
    /// An incomplete head.
    head: Vec<u8>,
    /// Set once the head is parsed.
    reading: Option<(Response, Body)>,
    /// The body so far, when it is requested.
    kept: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Length(u64),
    Chunked(Chunk),
    UntilClose,
}

/// The position in a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunk {
    Size(u64),
    /// After the size: extensions and the line's end.
    SizeEnd(u64),
    Data(u64),
    /// The line's end after data.
    DataEnd,
    /// Trailer lines; true while the current one is empty.
    Trailer(bool),
}

impl Parser {
    /// A parser that keeps bodies.
    pub(super) fn keeping() -> Self {
        Self { kept: Some(Vec::new()), ..Self::default() }
    }

    /// The body of the completed response; empty unless bodies are kept.
    pub(super) fn take_body(&mut self) -> Vec<u8> {
        self.kept.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Consumes `input`; returns the response when it is complete. `is_head` is true when the
    /// request was HEAD.
    pub(super) fn feed(&mut self, mut input: &[u8], is_head: bool) -> Result<Option<Response>, Malformed> {
        while self.reading.is_none() {
            let Some(rest) = self.read_head(input, is_head)? else { return Ok(None) };
            input = rest;
        }
        let (response, body) = self.reading.as_mut().ok_or(Malformed)?;
        let kept = &mut self.kept;
        let mut keep = |data: &[u8]| {
            if let Some(kept) = kept {
                kept.extend_from_slice(data);
            }
        };
        let done = match body {
            Body::UntilClose => {
                keep(input);
                return Ok(None);
            }
            Body::Length(left) => {
                let taken = (input.len() as u64).min(*left);
                *left -= taken;
                keep(input);
                // More bytes than announced, although no other request was sent.
                if input.len() as u64 > taken {
                    return Err(Malformed);
                }
                *left == 0
            }
            Body::Chunked(chunk) => chunk.read(input, &mut keep)?,
        };
        if !done {
            return Ok(None);
        }
        let response = *response;
        self.reading = None;
        Ok(Some(response))
    }

    /// Called when the server closed its side, which ends a response without another end.
    pub(super) fn end(&mut self) -> Option<Response> {
        let reading = self.reading.take();
        self.head.clear();
        reading.filter(|(_, body)| *body == Body::UntilClose).map(|(response, _)| response)
    }

    /// Parses a head and returns the bytes after it; `None` when the head is incomplete.
    fn read_head<'a>(&mut self, input: &'a [u8], is_head: bool) -> Result<Option<&'a [u8]>, Malformed> {
        let before = self.head.len();
        let whole = if before == 0 {
            input
        } else {
            self.head.extend_from_slice(input);
            &self.head
        };
        let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let mut parsed = httparse::Response::new(&mut []);
        let status = httparse::ParserConfig::default()
            .parse_response_with_uninit_headers(&mut parsed, whole, &mut headers)
            .map_err(|_| Malformed)?;
        match status {
            httparse::Status::Complete(len) => {
                let reading = body_of(&parsed, is_head)?;
                self.head.clear();
                // An interim response (100, 103) is followed by the real one.
                self.reading = reading;
                Ok(Some(&input[len - before..]))
            }
            httparse::Status::Partial if whole.len() > HEAD_LEN_MAX => Err(Malformed),
            httparse::Status::Partial => {
                if before == 0 {
                    self.head.extend_from_slice(input);
                }
                Ok(None)
            }
        }
    }
}

fn body_of(
    parsed: &httparse::Response<'_, '_>,
    is_head: bool,
) -> Result<Option<(Response, Body)>, Malformed> {
    let status = parsed.code.ok_or(Malformed)?;
    if (100..200).contains(&status) {
        return Ok(None);
    }
    let (mut length, mut chunked, mut close) = (None, false, parsed.version == Some(0));
    for header in parsed.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            let text = std::str::from_utf8(header.value).map_err(|_| Malformed)?;
            length = Some(text.trim().parse::<u64>().map_err(|_| Malformed)?);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = header.value.to_ascii_lowercase().ends_with(b"chunked");
        } else if header.name.eq_ignore_ascii_case("connection") {
            let value = header.value.to_ascii_lowercase();
            close = value.windows(5).any(|word| word == b"close")
                || close && !value.windows(10).any(|word| word == b"keep-alive");
        }
    }
    let body = match (is_head || status == 204 || status == 304, chunked, length) {
        (true, ..) => Body::Length(0),
        (_, true, _) => Body::Chunked(Chunk::Size(0)),
        (_, _, Some(length)) => Body::Length(length),
        _ => Body::UntilClose,
    };
    let keep_alive = !close && body != Body::UntilClose;
    Ok(Some((Response { status, keep_alive }, body)))
}

impl Chunk {
    /// Consumes `input` and passes its data to `keep`; true at the end of the body.
    fn read(&mut self, mut input: &[u8], keep: &mut impl FnMut(&[u8])) -> Result<bool, Malformed> {
        while let Some((&byte, rest)) = input.split_first() {
            *self = match *self {
                Self::Data(left) => {
                    let taken = input.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    keep(&input[..taken]);
                    input = &input[taken..];
                    let left = left - taken as u64;
                    *self = if left == 0 { Self::DataEnd } else { Self::Data(left) };
                    continue;
                }
                Self::Size(size) => match char::from(byte).to_digit(16) {
                    Some(digit) => Self::Size(size.checked_mul(16).ok_or(Malformed)? + u64::from(digit)),
                    None if byte == b';' || byte == b'\r' => Self::SizeEnd(size),
                    None => return Err(Malformed),
                },
                Self::SizeEnd(0) if byte == b'\n' => Self::Trailer(true),
                Self::SizeEnd(size) if byte == b'\n' => Self::Data(size),
                Self::SizeEnd(size) => Self::SizeEnd(size),
                Self::DataEnd if byte == b'\r' => Self::DataEnd,
                Self::DataEnd if byte == b'\n' => Self::Size(0),
                Self::DataEnd => return Err(Malformed),
                Self::Trailer(true) if byte == b'\n' => {
                    return if rest.is_empty() { Ok(true) } else { Err(Malformed) };
                }
                Self::Trailer(empty) => Self::Trailer(byte == b'\n' || empty && byte == b'\r'),
            };
            input = rest;
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `stream` in pieces of `step` bytes.
    fn read(stream: &[u8], step: usize, is_head: bool) -> Result<Option<Response>, Malformed> {
        let mut parser = Parser::default();
        for piece in stream.chunks(step) {
            if let Some(response) = parser.feed(piece, is_head)? {
                return Ok(Some(response));
            }
        }
        Ok(parser.end())
    }

    #[test]
    fn every_split_of_every_kind_of_body_reads_the_same() {
        let ok = Response { status: 200, keep_alive: true };
        let closed = Response { status: 200, keep_alive: false };
        let cases: &[(&[u8], bool, Response)] = &[
            (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", false, ok),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", true, ok),
            (b"HTTP/1.1 204 No\r\n\r\n", false, Response { status: 204, keep_alive: true }),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\nabcd\r\n1\r\na\r\n0\r\nt: v\r\n\r\n", false, ok),
            (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx", false, closed),
            (b"HTTP/1.0 200 OK\r\n\r\nall of it", false, closed),
        ];
        for (stream, is_head, expected) in cases {
            for step in 1..=stream.len() {
                assert_eq!(read(stream, step, *is_head), Ok(Some(*expected)), "{step}");
            }
        }
    }

    #[test]
    fn a_body_that_is_kept_is_whole_however_it_came() {
        let cases: [&[u8]; 2] = [
            b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nabcd",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n",
        ];
        for stream in cases {
            for step in 1..=stream.len() {
                let mut parser = Parser::keeping();
                for _ in 0..2 {
                    let read: Vec<_> =
                        stream.chunks(step).filter_map(|piece| parser.feed(piece, false).unwrap()).collect();
                    assert_eq!(read.len(), 1);
                    assert_eq!(parser.take_body(), b"abcd", "{step}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_response_is_refused() {
        let cases: [&[u8]; 5] = [
            b"SSH-2.0-x\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nxy",
            b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        ];
        for stream in cases {
            assert_eq!(read(stream, stream.len(), false), Err(Malformed));
        }
        assert_eq!(read(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab", 100, false), Ok(None));
    }
}
