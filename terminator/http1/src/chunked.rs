//! Decoding the chunked transfer coding (RFC 9112 section 7.1).
//!
//! Owns sizes, extensions (checked and dropped), the ends of chunks, and trailers. Leaves the bytes
//! of the body to the caller. Invariant: the verdict does not depend on how the input is cut.

use crate::event::{Event, Step};
use crate::grammar::TOKEN_LOWER;
use crate::limits::{CHUNK_LINE_LEN_MAX, EXTENSIONS_LEN_MAX};
use crate::{Error, Limits, field};

/// The state of a chunked body that is being read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Chunked {
    part: Part,
    /// Length of the front of the input that was searched for the end of the line.
    searched: u32,
    /// Bytes of extensions so far; from the last chunk on, bytes of trailers.
    overhead: u32,
    trailers: u32,
    /// Sum of the chunk sizes so far.
    announced: u64,
}

/// The part of the coding that the next byte belongs to.
#[derive(Clone, Copy, Debug, Default)]
enum Part {
    /// The line with a chunk's size.
    #[default]
    Size,
    /// The bytes of a chunk; their number.
    Data(u64),
    /// The CRLF behind a chunk's bytes.
    DataEnd,
    /// A trailer, or the empty line that ends the body.
    Trailers,
}

impl Chunked {
    /// True when no byte of the body has been read.
    pub(crate) fn is_untouched(&self) -> bool {
        matches!(self.part, Part::Size) && self.announced == 0 && self.searched == 0
    }

    /// The next event at the front of `input`.
    pub(crate) fn receive(&mut self, input: &mut [u8], limits: &Limits) -> Result<Step, Error> {
        let mut skip = 0;
        loop {
            let rest = &mut input[skip..];
            match self.part {
                Part::Size => {
                    // Checked before the end of the line is searched, so that the verdict does not
                    // depend on whether it has been read.
                    if rest.first().is_some_and(|byte| !byte.is_ascii_hexdigit()) {
                        return Err(Error::ChunkSize);
                    }
                    let Some(len) = self.line(rest, CHUNK_LINE_LEN_MAX, Error::ChunkExtension)? else {
                        return Ok(Step { skip, event: None });
                    };
                    self.size(&rest[..len - 2], limits)?;
                    skip += len;
                }
                Part::Data(left) => {
                    let len = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    if len == 0 {
                        return Ok(Step { skip, event: None });
                    }
                    let left = left - len as u64;
                    self.part = if left == 0 { Part::DataEnd } else { Part::Data(left) };
                    return Ok(Step { skip, event: Some(Event::Data(len)) });
                }
                Part::DataEnd => match rest {
                    [b'\r', b'\n', ..] => {
                        self.part = Part::Size;
                        skip += 2;
                    }
                    [] | [b'\r'] => return Ok(Step { skip, event: None }),
                    _ => return Err(Error::ChunkEnd),
                },
                Part::Trailers => return self.trailer(rest, limits).map(|step| step.behind(skip)),
            }
        }
    }

    /// Length of the line at the front of `input`, CRLF included; `None` when it is incomplete,
    /// `error` when it is longer than `len_max`.
    fn line(&mut self, input: &[u8], len_max: usize, error: Error) -> Result<Option<usize>, Error> {
        let searched = self.searched as usize;
        let found = memchr::memchr(b'\n', &input[searched..]);
        let len = found.map_or(input.len(), |at| searched + at + 1);
        if len > len_max {
            return Err(error);
        }
        if found.is_none() {
            self.searched = u32::try_from(len).expect("a line has at most 65 535 bytes");
            return Ok(None);
        }
        self.searched = 0;
        if input[..len].ends_with(b"\r\n") { Ok(Some(len)) } else { Err(Error::ChunkLineEnd) }
    }

    fn size(&mut self, line: &[u8], limits: &Limits) -> Result<(), Error> {
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (digits, extensions) = line.split_at(digits);
        // Saturates: a number above 64 bits exceeds every limit, as with `Content-Length`.
        let add = |sum: u64, digit: &u8| match char::from(*digit).to_digit(16) {
            Some(digit) => sum.saturating_mul(16).saturating_add(u64::from(digit)),
            None => sum,
        };
        let size = digits.iter().fold(0, add);
        // Only an extension may follow the number.
        if !matches!(extensions, [] | [b';' | b' ' | b'\t', ..]) {
            return Err(Error::ChunkSize);
        }
        self.overhead += u32::try_from(extensions.len()).expect("a line has at most 65 535 bytes");
        if self.overhead as usize > EXTENSIONS_LEN_MAX || !are_extensions(extensions) {
            return Err(Error::ChunkExtension);
        }
        self.announced = self.announced.saturating_add(size);
        if self.announced > limits.body_len_max {
            return Err(Error::BodyTooLong { limit: limits.body_len_max });
        }
        if size == 0 {
            (self.part, self.overhead) = (Part::Trailers, 0);
        } else {
            self.part = Part::Data(size);
        }
        Ok(())
    }

    fn trailer(&mut self, input: &mut [u8], limits: &Limits) -> Result<Step, Error> {
        let too_long = Error::TrailersTooLong { bytes: limits.head_len_max, count: limits.fields_max };
        let left = limits.head_len_max.saturating_sub(self.overhead as usize);
        let Some(len) = self.line(input, left, too_long)? else { return Ok(Step { skip: 0, event: None }) };
        if len == 2 {
            return Ok(Step { skip: len, event: Some(Event::End) });
        }
        self.trailers += 1;
        if self.trailers as usize > limits.fields_max {
            return Err(too_long);
        }
        self.overhead += u32::try_from(len).expect("a line has at most 65 535 bytes");
        field::check(&mut input[..len - 2]).map_err(|_| Error::Trailer)?;
        Ok(Step { skip: 0, event: Some(Event::Trailer(len)) })
    }
}

/// True when `rest` is `*( BWS ";" BWS NAME [ BWS "=" BWS ( TOKEN / QUOTED ) ] )` (RFC 9112 section
/// 7.1.1).
fn are_extensions(mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        let Some(behind) = start_trimmed(rest).strip_prefix(b";") else { return false };
        let Some(behind) = without_token(start_trimmed(behind)) else { return false };
        rest = behind;
        if let Some(value) = start_trimmed(rest).strip_prefix(b"=") {
            let value = start_trimmed(value);
            let behind =
                if value.first() == Some(&b'"') { without_quoted(value) } else { without_token(value) };
            let Some(behind) = behind else { return false };
            rest = behind;
        }
    }
    true
}

fn start_trimmed(bytes: &[u8]) -> &[u8] {
    let spaces = bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    &bytes[spaces..]
}

fn without_token(bytes: &[u8]) -> Option<&[u8]> {
    let len = bytes.iter().take_while(|byte| TOKEN_LOWER[usize::from(**byte)] != 0).count();
    (len > 0).then(|| &bytes[len..])
}

/// What follows the quoted string at the front (RFC 9110 section 5.6.4).
fn without_quoted(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes.strip_prefix(b"\"")?;
    loop {
        rest = match rest {
            [b'"', behind @ ..] => return Some(behind),
            [b'\\', b'\t' | b' '..=b'~' | 0x80.., behind @ ..] => behind,
            [b'\\', ..] => return None,
            [b'\t' | b' '..=b'~' | 0x80.., behind @ ..] => behind,
            _ => return None,
        }
    }
}
