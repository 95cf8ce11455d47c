//! The encoded heads of requests, in buffers that one worker reuses.
//!
//! Owns the buffers and where the id, the path and the fields are in them. Leaves which fields are
//! written to `request`. Invariant: at most [`SPARE_MAX`] buffers of at most [`SPARE_BYTES_MAX`]
//! bytes are kept for reuse.

use std::cell::RefCell;

use bus::proto::Fields;
use bus::{HeadWriter, RequestError};
use bytes::BytesMut;

/// Buffers kept for reuse: more requests are seldom in flight at once.
const SPARE_MAX: usize = 1024;
/// A buffer that grew above this is freed.
const SPARE_BYTES_MAX: usize = 4096;
/// Initial capacity: enough for a service's request, seldom for a browser's with its cookies.
const FIRST_BYTES: usize = 512;

/// The head of one request as its envelope carries it.
#[derive(Debug, Default)]
pub(crate) struct EncodedHead {
    /// The request's id, the path, then the fields.
    bytes: BytesMut,
    id_len: u32,
    fields_at: u32,
}

impl EncodedHead {
    /// Starts a new head with `id` and `path`; the previous content is discarded.
    pub(crate) fn begin(&mut self, id: &[u8], path: &str) {
        self.bytes.clear();
        self.bytes.reserve(FIRST_BYTES);
        self.bytes.extend_from_slice(id);
        self.bytes.extend_from_slice(path.as_bytes());
        let short = |len| u32::try_from(len).expect("a head is not longer than its limit, which fits u32");
        (self.id_len, self.fields_at) = (short(id.len()), short(id.len() + path.len()));
    }

    /// Appends the fields that `write` writes.
    ///
    /// # Errors
    /// A field that is too long for the envelope.
    pub(crate) fn write(&mut self, write: impl FnOnce(&mut HeadWriter<'_>)) -> Result<(), RequestError> {
        let mut head = HeadWriter::new(&mut self.bytes);
        write(&mut head);
        head.finish()?;
        Ok(())
    }

    /// The fields in the envelope's encoding.
    pub(crate) fn fields(&self) -> &[u8] {
        &self.bytes[self.fields_at as usize..]
    }

    /// The value of the first field with this name.
    pub(crate) fn called(&self, name: &[u8]) -> Option<&[u8]> {
        Fields::of(self.fields()).find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// The request's id; ASCII.
    pub(crate) fn id(&self) -> &[u8] {
        &self.bytes[..self.id_len as usize]
    }

    /// The path.
    pub(crate) fn path(&self) -> &str {
        let path = &self.bytes[self.id_len as usize..self.fields_at as usize];
        std::str::from_utf8(path).expect("it was written as a str")
    }
}

/// The buffers of one worker that no request uses.
#[derive(Debug, Default)]
pub struct Heads {
    spare: RefCell<Vec<EncodedHead>>,
}

impl Heads {
    /// A buffer whose content is unspecified until [`EncodedHead::begin`].
    pub(crate) fn take(&self) -> EncodedHead {
        self.spare.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes back a buffer whose request has ended.
    pub(crate) fn give_back(&self, encoded: EncodedHead) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_MAX && encoded.bytes.capacity() <= SPARE_BYTES_MAX {
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
        large.write(|head| head.field("x", vec![b'x'; SPARE_BYTES_MAX])).unwrap();
        heads.give_back(large);
        assert!(heads.spare.borrow().is_empty());
    }
}
