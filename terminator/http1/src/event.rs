//! The events that a caller gets for the bytes that it has read.
//!
//! Owns the types only. Leaves producing them to [`crate::Connection::receive`].

/// What is at the front of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request's head; its length in bytes. Its parts are in the [`crate::Head`].
    Head(usize),
    /// Bytes of the request's body; their number.
    Data(usize),
    /// A valid trailer, its name in lower case; the length of its line in bytes, CRLF included.
    Trailer(usize),
    /// The end of the request; no bytes.
    End,
}

/// What the caller must do with the front of its input: drop the first `skip` bytes, then take the
/// bytes of the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Number of bytes that are not needed any more.
    pub skip: usize,
    /// What follows them; `None` when more bytes are needed.
    pub event: Option<Event>,
}

impl Step {
    /// The same step with `skip` further bytes in front.
    pub(crate) fn behind(self, skip: usize) -> Self {
        Self { skip: self.skip + skip, ..self }
    }
}
