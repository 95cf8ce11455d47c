//! A request's head as its envelope has it, in memory that the next request uses again.
//!
//! Owns: the memory, one worker's. Invariant: at most [`KEPT`] buffers of [`KEPT_BYTES`] wait for
//! their next use.

use std::cell::RefCell;

use bus::proto::Fields;
use bus::{HeadWriter, RequestError};
use bytes::BytesMut;

/// Buffers kept: as many as requests are usually under way at once.
const KEPT: usize = 1024;
/// A buffer that grew above this is not kept.
const KEPT_BYTES: usize = 4096;
/// What a buffer starts with: a browser's head with its cookies seldom fits, a service's does.
const FIRST_BYTES: usize = 512;

/// A head, encoded.
#[derive(Debug, Default)]
pub(super) struct Encoded {
    /// The request's id and the path, for those who ask for them, then the fields.
    bytes: BytesMut,
    id_len: u32,
    fields_at: u32,
}

impl Encoded {
    /// Writes `id` and `path`; nothing of what was written before stays.
    pub(super) fn begin(&mut self, id: &[u8], path: &str) {
        self.bytes.clear();
        self.bytes.reserve(FIRST_BYTES);
        self.bytes.extend_from_slice(id);
        self.bytes.extend_from_slice(path.as_bytes());
        let short = |len| u32::try_from(len).expect("a head is not longer than its limit, which fits u32");
        (self.id_len, self.fields_at) = (short(id.len()), short(id.len() + path.len()));
    }

    /// Writes the fields that `write` does.
    pub(super) fn write(&mut self, write: impl FnOnce(&mut HeadWriter<'_>)) -> Result<(), RequestError> {
        let mut head = HeadWriter::new(&mut self.bytes);
        write(&mut head);
        head.finish()?;
        Ok(())
    }

    /// The fields.
    pub(super) fn fields(&self) -> &[u8] {
        &self.bytes[self.fields_at as usize..]
    }

    /// The value of the first field with this name.
    pub(super) fn called(&self, name: &[u8]) -> Option<&[u8]> {
        Fields::of(self.fields()).find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// The request's id; ASCII.
    pub(super) fn id(&self) -> &[u8] {
        &self.bytes[..self.id_len as usize]
    }

    /// The path.
    pub(super) fn path(&self) -> &str {
        let path = &self.bytes[self.id_len as usize..self.fields_at as usize];
        std::str::from_utf8(path).expect("it was written as a str")
    }
}

/// The buffers of one worker that are not in use.
#[derive(Debug, Default)]
pub struct Heads {
    spare: RefCell<Vec<Encoded>>,
}

impl Heads {
    pub(super) fn take(&self) -> Encoded {
        self.spare.borrow_mut().pop().unwrap_or_default()
    }

    pub(super) fn give_back(&self, encoded: Encoded) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < KEPT && encoded.bytes.capacity() <= KEPT_BYTES {
            spare.push(encoded);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_and_holds_nothing_of_the_last_request() {
        let heads = Heads::default();
        let mut first = heads.take();
        first.begin(b"the-first", "/a/long/path");
        first.write(|head| head.field("x", "secret")).unwrap();
        let place = first.bytes.as_ptr();
        heads.give_back(first);
        let mut second = heads.take();
        second.begin(b"2", "/b");
        second.write(|head| head.field("y", "1")).unwrap();
        assert_eq!(
            (second.id(), second.path(), second.fields(), second.bytes.as_ptr()),
            (&b"2"[..], "/b", &b"\0\x01\0\x01y1"[..], place)
        );
    }

    #[test]
    fn a_buffer_that_grew_is_not_kept() {
        let heads = Heads::default();
        let mut large = heads.take();
        large.begin(b"1", "/");
        large.write(|head| head.field("x", vec![b'x'; KEPT_BYTES])).unwrap();
        heads.give_back(large);
        assert!(heads.spare.borrow().is_empty());
    }
}
