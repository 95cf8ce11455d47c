//! Requests from a file, line by line, in bounded memory.
//!
//! Owns splitting at line feeds, counting lines and bytes, and skipping blank lines. Invariant: an
//! item's `end` is where the next line begins, so that reading can continue there.

use std::io::{self, BufRead, Read};

use super::place::{Item, Place};
use super::request::Request;
use super::template::Template;

/// Longest line, in bytes. A longer body would exceed the bus's longest message.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// The lines of a file.
pub struct Lines<R> {
    reader: R,
    template: Option<Template>,
    place: Place,
}

impl<R: BufRead> Lines<R> {
    /// A reader of lines; `reader` is at `place`. Without a template every line is a request.
    pub fn new(reader: R, template: Option<Template>, place: Place) -> Self {
        Self { reader, template, place }
    }

    /// The next line that is not blank, and `None` at the end; the inner `Err` means that the line
    /// is too long.
    fn line(&mut self) -> io::Result<Option<Result<Vec<u8>, String>>> {
        loop {
            let mut text = Vec::new();
            let read = (&mut self.reader).take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut text)?;
            if read == 0 {
                return Ok(None);
            }
            self.place.end += read as u64;
            self.place.number += 1;
            if read > LINE_BYTES_MAX && text.last() != Some(&b'\n') {
                self.place.end += self.reader.skip_until(b'\n')? as u64;
                return Ok(Some(Err(format!("longer than {LINE_BYTES_MAX} bytes"))));
            }
            if !text.trim_ascii().is_empty() {
                return Ok(Some(Ok(text)));
            }
        }
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = io::Result<Item>;

    fn next(&mut self) -> Option<Self::Item> {
        let request = match self.line() {
            Ok(Some(Ok(line))) => match &self.template {
                Some(template) => template.fill(&line),
                None => Request::read(&line),
            },
            Ok(Some(Err(reason))) => Err(reason),
            Ok(None) => return None,
            Err(error) => return Some(Err(error)),
        };
        Some(Ok(Item { place: self.place, request }))
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::{LINE_BYTES_MAX, Lines, Place, Template};

    fn places(text: &[u8], from: Place) -> Vec<(u64, u64, Result<String, String>)> {
        let template = Template::new("PUT", "/a/{id}", "{}").expect("is a template");
        Lines::new(BufReader::with_capacity(7, text), Some(template), from)
            .map(|item| item.expect("reads"))
            .map(|item| {
                (item.place.number, item.place.end, item.request.map(|request| request.path.to_string()))
            })
            .collect()
    }

    #[test]
    fn lines_are_counted_also_blank_ones_and_the_last_without_a_line_feed() {
        let found = places(b"{\"id\":1}\n\n  \r\n{\"id\":2}", Place { number: 10, end: 100 });
        assert_eq!(found, [(11, 109, Ok("/a/1".to_owned())), (14, 122, Ok("/a/2".to_owned()))]);
    }

    #[test]
    fn too_long_a_line_is_passed_over_whole() {
        let long = format!("{{\"id\":\"{}\"}}", "x".repeat(LINE_BYTES_MAX));
        let found = places(format!("{long}\n{{\"id\":2}}\n").as_bytes(), Place::default());
        let len = long.len() as u64 + 1;
        assert!(
            matches!(&found[0], (1, end, Err(reason)) if *end == len && reason.contains("1048576")),
            "{found:?}"
        );
        assert_eq!(found[1], (2, len + 9, Ok("/a/2".to_owned())));
    }
}
