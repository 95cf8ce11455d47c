//! How far a request has come, and how it ended.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use crate::envelope::Envelope;

/// How a request ended.
#[derive(Debug)]
pub enum Outcome {
    /// A reply, or its first part.
    Reply(Envelope),
    /// The deadline passed.
    Deadline,
    /// The pipe closed, or its peer fell silent. `written` tells whether the peer may have seen the request.
    Lost {
        /// All of its bytes had been written.
        written: bool,
    },
}

/// How far a request has come.
#[derive(Debug)]
pub enum State {
    /// Nobody uses the slot.
    Free,
    /// Sent, nothing back yet.
    Waiting,
    /// Ended; the asker has not looked yet.
    Ended(Outcome),
    /// The first part has come, further ones follow. On the heap: few replies have parts, and every slot the room for them.
    Streaming(Box<Parts>),
}

impl State {
    /// Whether parts have come, and further ones are to come.
    #[must_use]
    pub fn is_streaming(&self) -> bool {
        matches!(self, Self::Streaming(parts) if parts.ended.is_none())
    }

    /// Whether something of the reply is to come.
    #[must_use]
    pub fn is_outstanding(&self) -> bool {
        matches!(self, Self::Waiting) || self.is_streaming()
    }
}

/// The parts of a reply that wait for the asker.
#[derive(Debug, Default)]
pub struct Parts {
    /// The first part, until the asker takes it.
    pub first: Option<Envelope>,
    /// Bodies of the further ones, in order.
    pub waiting: VecDeque<Bytes>,
    /// Their bytes, each part's overhead included.
    pub bytes: usize,
    /// How it ended, once it has.
    pub ended: Option<PartsEnd>,
    /// The time that each part is granted: what the request was given at first.
    pub patience: Duration,
}

/// How a reply of several parts ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartsEnd {
    /// The last part came.
    Complete,
    /// The next part did not come in time.
    Deadline,
    /// The pipe closed.
    Lost,
    /// More bytes wait than the limit allows.
    Overflow,
}
