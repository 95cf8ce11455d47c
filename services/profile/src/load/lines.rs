//! Lines of a file that may have any length, read in bounded memory.
//!
//! Owns splitting at line feeds and counting bytes. Invariant: `offset` is where the next line
//! begins.

use std::io::{self, BufRead, Read};

/// Reads lines of at most `limit` bytes.
pub(super) struct Lines<R> {
    reader: R,
    limit: usize,
    /// Bytes before the next line.
    pub(super) offset: u64,
    /// Lines before the next one.
    pub(super) number: u64,
}

/// One line, without its line feed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Text(Vec<u8>),
    /// The line was longer than the limit and was skipped.
    TooLong,
}

impl<R: BufRead> Lines<R> {
    /// A reader of lines; `reader` is at `offset`, after `number` lines.
    pub(super) fn new(reader: R, limit: usize, offset: u64, number: u64) -> Self {
        Self { reader, limit, offset, number }
    }

    /// The next line, or `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Line>> {
        let mut text = Vec::new();
        let read = (&mut self.reader).take(self.limit as u64 + 1).read_until(b'\n', &mut text)?;
        if read == 0 {
            return Ok(None);
        }
        self.offset += read as u64;
        self.number += 1;
        if text.last() == Some(&b'\n') {
            text.pop();
        } else if read > self.limit {
            self.skip_line()?;
            return Ok(Some(Line::TooLong));
        }
        Ok(Some(Line::Text(text)))
    }

    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let buffered = self.reader.fill_buf()?;
            let end = buffered.iter().position(|&byte| byte == b'\n');
            let len = end.map_or(buffered.len(), |at| at + 1);
            self.reader.consume(len);
            self.offset += len as u64;
            if end.is_some() || len == 0 {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_skipped_and_every_byte_is_counted() {
        let text = b"ab\n\nabcd\nabcdefghij\nlast";
        let mut lines = Lines::new(io::BufReader::with_capacity(3, &text[..]), 4, 100, 7);
        let mut found = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            found.push((line, lines.number, lines.offset));
        }
        let text = |text: &str| Line::Text(text.as_bytes().to_vec());
        let expected = [
            (text("ab"), 8, 103),
            (text(""), 9, 104),
            (text("abcd"), 10, 109),
            (Line::TooLong, 11, 120),
            (text("last"), 12, 124),
        ];
        assert_eq!(found, expected);
    }
}
