//! What a caller is told of the bytes that it has read.

/// What stands at the front of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request's head of so many bytes, described by the [`crate::Head`].
    Head(usize),
    /// So many bytes of the request's body.
    Data(usize),
    /// A trailer, a line of so many bytes with its CRLF; it has been checked, its name is in lower
    /// case.
    Trailer(usize),
    /// Nothing: the request is whole.
    End,
}

/// What the caller does with the front of its input: drop the first `skip` bytes, then take those
/// that the event covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Bytes that mean nothing any more.
    pub skip: usize,
    /// What follows them; `None` when more bytes are needed to tell.
    pub event: Option<Event>,
}

impl Step {
    /// The same step behind `skip` further bytes.
    pub(crate) fn behind(self, skip: usize) -> Self {
        Self { skip: self.skip + skip, ..self }
    }
}
