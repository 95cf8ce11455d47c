//! Follows the framing of a connection's requests (RFC 9112 section 6) beside hyper, to find heads that have both
//! `Content-Length` and `Transfer-Encoding`.
//!
//! hyper accepts such a head, removes its Content-Length and closes afterwards, and tells nobody; what is in front of
//! us may have believed the other length. Refusing needs to see the bytes. Owns: where each head begins and ends. Does
//! not: judge syntax; whatever is wrong otherwise hyper refuses. Invariant: allocates nothing and looks at each byte of
//! a body at most once; where it cannot follow it says so, and chunked requests are refused from there on.

use memchr::memchr;

/// Bytes of a line that are kept when it comes in pieces: what a length header needs, with room for white space.
const LINE_BYTES: usize = 64;

/// Follows one connection.
#[derive(Debug)]
pub(super) struct Framing {
    at: At,
    /// The beginning of a line that came in pieces.
    line: [u8; LINE_BYTES],
    line_len: usize,
    /// Bytes of the request line of the head under way, as far as it has come.
    start_line_bytes: usize,
    /// Heads that are complete.
    heads: u64,
    length: Option<u64>,
    chunked: bool,
    ambiguous: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Before a request line; empty lines are allowed there.
    Start,
    /// Among the headers.
    Headers,
    /// In that many bytes of a body.
    Body(u64),
    /// Before a chunk's size line.
    ChunkSize,
    /// In that many bytes of a chunk, its line end included.
    Chunk(u64),
    /// Among the trailers.
    Trailers,
    /// Nowhere known.
    Lost,
}

impl Default for Framing {
    fn default() -> Self {
        Self {
            at: At::Start,
            line: [0; LINE_BYTES],
            line_len: 0,
            start_line_bytes: 0,
            heads: 0,
            length: None,
            chunked: false,
            ambiguous: None,
        }
    }
}

impl Framing {
    /// Takes the next bytes of the connection.
    #[inline]
    pub(super) fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = match self.at {
                At::Body(left) => {
                    let (rest, left) = skip(bytes, left);
                    self.at = if left == 0 { At::Start } else { At::Body(left) };
                    rest
                }
                At::Chunk(left) => {
                    let (rest, left) = skip(bytes, left);
                    self.at = if left == 0 { At::ChunkSize } else { At::Chunk(left) };
                    rest
                }
                At::Lost => return,
                At::Start | At::Headers | At::ChunkSize | At::Trailers => self.follow_line(bytes),
            };
        }
    }

    /// Whether [`Framing::ambiguous`] or [`Framing::lost`] has something to say.
    #[inline]
    pub(super) fn needs_attention(&self) -> bool {
        self.ambiguous.is_some() || self.at == At::Lost
    }

    /// Bytes of the last request line that has begun.
    pub(super) fn start_line_bytes(&self) -> usize {
        self.start_line_bytes
    }

    /// Whether the next byte begins a head.
    #[inline]
    pub(super) fn is_between(&self) -> bool {
        self.at == At::Start && self.line_len == 0
    }

    /// A whole request passed that was not followed.
    #[inline]
    pub(super) fn pass_request(&mut self) {
        self.heads += 1;
    }

    /// Whether a head has begun and not ended.
    pub(super) fn is_in_head(&self) -> bool {
        self.at == At::Headers || (self.at == At::Start && self.line_len > 0)
    }

    /// Bytes of an announced body that have not come yet.
    pub(super) fn body_left(&self) -> u64 {
        if let At::Body(left) = self.at { left } else { 0 }
    }

    /// The first head with both lengths, counted from 0. The connection ends with it.
    pub(super) fn ambiguous(&self) -> Option<u64> {
        self.ambiguous
    }

    /// The first head whose framing could not be followed, counted from 0.
    pub(super) fn lost(&self) -> Option<u64> {
        (self.at == At::Lost).then_some(self.heads)
    }

    /// Takes one line, or the piece of one that is there; what is behind it is left.
    #[inline]
    fn follow_line<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let end = memchr(b'\n', bytes);
        if self.at == At::Start {
            let before = if self.line_len == 0 { 0 } else { self.start_line_bytes };
            self.start_line_bytes = before + end.unwrap_or(bytes.len());
        }
        let Some(end) = end else {
            self.keep(bytes);
            return &[];
        };
        let (piece, rest) = (&bytes[..end], &bytes[end + 1..]);
        if self.line_len == 0 {
            self.take_line(piece);
        } else {
            self.keep(piece);
            let (line, len) = (self.line, self.line_len);
            self.line_len = 0;
            self.take_line(&line[..len]);
        }
        rest
    }

    /// What does not fit is not needed, but for the last byte, which may belong to the line's end.
    fn keep(&mut self, piece: &[u8]) {
        let room = &mut self.line[self.line_len..];
        let len = piece.len().min(room.len());
        room[..len].copy_from_slice(&piece[..len]);
        self.line_len += len;
        if let Some(last) = piece.last()
            && len < piece.len()
        {
            self.line[self.line_len - 1] = *last;
        }
    }

    #[inline]
    fn take_line(&mut self, line: &[u8]) {
        if self.at == At::Trailers && !line.ends_with(b"\r") {
            // hyper ends no trailer there.
            self.at = At::Lost;
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match (self.at, line) {
            (At::Start, []) => {}
            (At::Start, _) => self.at = At::Headers,
            (At::Headers, []) => self.end_head(),
            (At::Headers, _) => self.header(line),
            (At::ChunkSize, _) => {
                self.at = match chunk_size(line) {
                    Some(0) => At::Trailers,
                    Some(size) => At::Chunk(size.saturating_add(2)),
                    None => At::Lost,
                }
            }
            (At::Trailers, []) => self.at = At::Start,
            (At::Trailers | At::Body(_) | At::Chunk(_) | At::Lost, _) => {}
        }
    }

    #[inline]
    fn header(&mut self, line: &[u8]) {
        match line[0] | 0x20 {
            b'c' => {
                if let Some(value) = value_of(line, b"content-length:") {
                    match decimal(value) {
                        Some(length) => self.length = Some(length),
                        None => self.at = At::Lost,
                    }
                }
            }
            b't' if value_of(line, b"transfer-encoding:").is_some() => self.chunked = true,
            _ => {}
        }
    }

    #[inline]
    fn end_head(&mut self) {
        let (length, chunked) = (self.length.take(), std::mem::take(&mut self.chunked));
        if length.is_some() && chunked && self.ambiguous.is_none() {
            self.ambiguous = Some(self.heads);
        }
        self.heads += 1;
        self.at = match (chunked, length) {
            (true, _) => At::ChunkSize,
            (false, None | Some(0)) => At::Start,
            (false, Some(length)) => At::Body(length),
        };
    }
}

#[inline]
fn skip(bytes: &[u8], left: u64) -> (&[u8], u64) {
    match usize::try_from(left) {
        Ok(left) if left <= bytes.len() => (&bytes[left..], 0),
        _ => (&[], left - bytes.len() as u64),
    }
}

fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (found, value) = line.split_at_checked(name.len())?;
    found.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

fn decimal(digits: &[u8]) -> Option<u64> {
    // 2^64 has 20; more may not have been kept.
    if !(1..=20).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next()?.trim_ascii_end();
    if !(1..=16).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Follows `stream` whole and in every other split into two, and in single bytes; all must agree.
    fn follow(stream: &str) -> Framing {
        let bytes = stream.as_bytes();
        let mut whole = Framing::default();
        whole.follow(bytes);
        let outcome = |framing: &Framing| (framing.ambiguous, framing.heads, framing.at);
        for at in 0..bytes.len() {
            let mut split = Framing::default();
            split.follow(&bytes[..at]);
            split.follow(&bytes[at..]);
            assert_eq!(outcome(&split), outcome(&whole), "split at {at}");
        }
        let mut single = Framing::default();
        bytes.iter().for_each(|byte| single.follow(std::slice::from_ref(byte)));
        assert_eq!(outcome(&single), outcome(&whole));
        whole
    }

    const GET: &str = "GET /a HTTP/1.1\r\nhost: a\r\n\r\n";
    const CHUNKED: &str = "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";

    #[test]
    fn two_lengths_are_found_in_either_order_and_case() {
        for headers in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "transfer-encoding: chunked\r\ncontent-length:5",
            "TRANSFER-ENCODING: chunked\r\nhost: a\r\nCONTENT-LENGTH:  0",
        ] {
            let framing = follow(&format!("{GET}\r\n{GET}POST /a HTTP/1.1\r\n{headers}\r\n\r\n0\r\n\r\n"));
            assert_eq!(framing.ambiguous(), Some(2), "{headers}");
        }
    }

    #[test]
    fn what_a_body_says_is_not_a_header() {
        let both = "POST /x HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let sized = format!("POST /a HTTP/1.1\r\nContent-Length: {}\r\n\r\n{both}", both.len());
        assert_eq!(follow(&format!("{sized}{GET}")).ambiguous(), None);
        let chunk = format!("{CHUNKED}{:x};a=b\r\n{both}\r\n0\r\ntrailer: a\r\n\r\n{GET}", both.len());
        let framing = follow(&chunk);
        assert_eq!((framing.ambiguous(), framing.heads, framing.at), (None, 2, At::Start));
    }

    #[test]
    fn the_head_behind_a_chunked_body_is_found() {
        let stream = format!(
            "{CHUNKED}3\r\nabc\r\n0\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        assert_eq!(follow(&stream).ambiguous(), Some(1));
    }

    #[test]
    fn the_request_line_is_measured_also_when_it_comes_in_pieces() {
        let mut framing = Framing::default();
        framing.follow(GET.as_bytes());
        assert_eq!(framing.start_line_bytes(), "GET /a HTTP/1.1\r".len());
        for _ in 0..100 {
            framing.follow(&[b'a'; 100]);
        }
        assert_eq!(framing.start_line_bytes(), 10_000);
    }

    #[test]
    fn a_head_lasts_from_its_first_byte_to_its_empty_line() {
        for at in 1..GET.len() {
            assert!(follow(&GET[..at]).is_in_head(), "{at}");
        }
        for whole in ["", GET, CHUNKED, "\r\n"] {
            assert!(!follow(whole).is_in_head(), "{whole}");
        }
    }

    #[test]
    fn nonsense_is_not_followed() {
        assert_eq!(follow(&format!("{CHUNKED}xyz\r\n")).lost(), Some(1));
        assert_eq!(follow(&format!("{CHUNKED}fffffffffffffffff\r\n")).lost(), Some(1));
        assert_eq!(follow("POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n").lost(), Some(0));
        assert_eq!(follow(&format!("{CHUNKED}ffffffffffffffff\r\nabc")).lost(), None);
        // Cut to what is kept of a line they would be 0.
        let zeros = "0".repeat(70);
        assert_eq!(follow(&format!("{CHUNKED}{zeros}5\r\n\r\n")).lost(), Some(1));
        assert_eq!(follow(&format!("POST / HTTP/1.1\r\ncontent-length:{zeros}5\r\n\r\n")).lost(), Some(0));
        // What ends a line here has to end it for hyper.
        assert_eq!(follow(&format!("{CHUNKED}0\r\nA: b\n\nGET / HTTP/1.1\n\r\n\r\n")).lost(), Some(1));
        let long = "x".repeat(200);
        assert_eq!(follow(&format!("{CHUNKED}0\r\nA: {long}\r\n\r\n")).lost(), None);
    }
}
