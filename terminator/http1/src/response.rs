//! Encoding responses into a buffer of the caller.
//!
//! Owns the status line, the fields of framing and persistence, and the filter for the caller's
//! fields. Leaves writing body and buffer to the caller. Invariant: a response ends where its
//! framing says, whatever fields the caller adds: framing and hop-by-hop fields, invalid names and
//! values, and a second `date` or `server` are refused.

use crate::Connection;
use crate::grammar::{TOKEN_LOWER, is_field_value};
use crate::options::is_hop_by_hop;

/// The interim response that asks for a body (RFC 9110 section 15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What follows the bytes of a chunk.
pub const CHUNK_END: &[u8] = b"\r\n";

/// A response without its fields and its body.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    /// 200 to 599.
    pub status: u16,
    /// The reason phrase; may be empty.
    pub reason: &'a str,
    /// Length of the body in bytes; for HEAD, of the body that GET would get. `None` when it is not
    /// known.
    pub length: Option<u64>,
    /// True when the connection must close after it.
    pub close: bool,
    /// The value of `date`, unless the caller adds that field.
    pub date: &'a str,
}

/// How the body of a response is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    /// There is none: the request was HEAD, or the status has no body.
    Nothing,
    /// As the announced number of bytes.
    Length,
    /// In chunks: [`begin_chunk`], [`CHUNK_END`], [`last_chunk`].
    Chunked,
    /// Until the connection closes, because HTTP/1.0 has no chunks.
    UntilClose,
}

/// The fields of a response that is being written.
#[derive(Debug)]
pub struct Fields<'a> {
    out: &'a mut Vec<u8>,
    dated: bool,
    served: bool,
}

impl Fields<'_> {
    /// Writes a field with its name in lower case. False when it is refused: a framing or
    /// hop-by-hop field, a second `date` or `server`, a name that is not a token, or a value with a
    /// control character.
    #[inline]
    pub fn add(&mut self, name: &[u8], value: &[u8]) -> bool {
        if name.is_empty() || !is_field_value(value) {
            return false;
        }
        let seen = match name.len() {
            4 if name.eq_ignore_ascii_case(b"date") => Some(&mut self.dated),
            6 if name.eq_ignore_ascii_case(b"server") => Some(&mut self.served),
            _ => None,
        };
        if seen.is_some_and(|seen| std::mem::replace(seen, true)) {
            return false;
        }
        let start = self.out.len();
        self.out.extend_from_slice(name);
        let written = &mut self.out[start..];
        let mut is_token = true;
        for byte in &mut *written {
            *byte = TOKEN_LOWER[usize::from(*byte)];
            is_token &= *byte != 0;
        }
        if !is_token || is_hop_by_hop(written) {
            self.out.truncate(start);
            return false;
        }
        self.out.extend_from_slice(b": ");
        self.out.extend_from_slice(value);
        self.out.extend_from_slice(b"\r\n");
        true
    }
}

impl Connection {
    /// Appends the head of the response to the current request, or to one that could not be read,
    /// to `out`. `fields` adds the caller's fields.
    #[inline]
    pub fn respond(
        &mut self,
        response: &Response<'_>,
        out: &mut Vec<u8>,
        fields: impl FnOnce(&mut Fields<'_>),
    ) -> Sending {
        let Response { status, reason, length, close, date } = *response;
        if status == 200 {
            out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        } else {
            out.extend_from_slice(b"HTTP/1.1 ");
            out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
            out.push(b' ');
            out.extend_from_slice(reason.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        let mut written = Fields { out, dated: false, served: false };
        fields(&mut written);
        let Fields { out, dated, .. } = written;
        let sending = self.frame(status, length, out);
        self.persists &= !close && sending != Sending::UntilClose && !self.has_body_left();
        if !self.persists {
            out.extend_from_slice(b"connection: close\r\n");
        } else if self.is_1_0 {
            out.extend_from_slice(b"connection: keep-alive\r\n");
        }
        if !dated {
            out.extend_from_slice(b"date: ");
            out.extend_from_slice(date.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
        sending
    }

    /// Writes the fields that frame the body (RFC 9112 section 6.3, RFC 9110 sections 8.6 and
    /// 15.3.6).
    fn frame(&self, status: u16, length: Option<u64>, out: &mut Vec<u8>) -> Sending {
        let (length, has_body) = match status {
            204 | 304 => return Sending::Nothing,
            205 => (Some(0), false),
            _ => (length, !self.is_head()),
        };
        match length {
            Some(length) => {
                out.extend_from_slice(b"content-length: ");
                out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
                out.extend_from_slice(b"\r\n");
                if has_body { Sending::Length } else { Sending::Nothing }
            }
            None if !has_body => Sending::Nothing,
            None if self.is_1_0 => Sending::UntilClose,
            None => {
                out.extend_from_slice(b"transfer-encoding: chunked\r\n");
                Sending::Chunked
            }
        }
    }

    /// Writes the response that switches the connection to another protocol (RFC 9110 section
    /// 15.2.2) and ends HTTP on it. The bytes behind the request belong to the other protocol.
    pub fn upgrade(&mut self, protocol: &[u8], out: &mut Vec<u8>, fields: impl FnOnce(&mut Fields<'_>)) {
        out.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: ");
        out.extend_from_slice(protocol);
        out.extend_from_slice(b"\r\n");
        fields(&mut Fields { out, dated: true, served: false });
        out.extend_from_slice(b"\r\n");
        self.end();
    }
}

/// Writes the line before the bytes of a chunk of `len` bytes.
///
/// # Panics
/// When `len` is 0, which would end the body.
pub fn begin_chunk(len: usize, out: &mut Vec<u8>) {
    assert!(len > 0, "an empty chunk would end the body");
    let mut digits = [0; 16];
    let mut at = digits.len();
    let mut rest = len;
    while rest > 0 {
        at -= 1;
        digits[at] = b"0123456789abcdef"[rest % 16];
        rest /= 16;
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

/// Writes the end of a chunked body; `trailers` adds fields to it.
pub fn last_chunk(out: &mut Vec<u8>, trailers: impl FnOnce(&mut Fields<'_>)) {
    out.extend_from_slice(b"0\r\n");
    trailers(&mut Fields { out, dated: false, served: false });
    out.extend_from_slice(b"\r\n");
}
