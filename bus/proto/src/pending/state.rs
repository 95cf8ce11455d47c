//! The states of a request, and how it can end.

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
    /// The pipe closed, or its peer became silent. `written` tells whether the peer may have seen
    /// the request.
    Lost {
        /// True when all bytes of the request had been written.
        written: bool,
    },
}

/// The state of a request.
#[derive(Debug)]
pub enum State {
    /// The slot is unused.
    Free,
    /// Sent; nothing has been received yet.
    Waiting,
    /// Ended; the asker has not polled since.
    Ended(Outcome),
    /// The first part was received, and further parts may follow. Boxed because few replies have
    /// parts, and every slot would need the space.
    Streaming(Box<Parts>),
}

impl State {
    /// True when parts were received and more are expected.
    #[must_use]
    pub fn is_streaming(&self) -> bool {
        matches!(self, Self::Streaming(parts) if parts.ended.is_none())
    }

    /// True when the reply, or a part of it, is still expected.
    #[must_use]
    pub fn is_outstanding(&self) -> bool {
        matches!(self, Self::Waiting) || self.is_streaming()
    }
}

/// The received parts of a reply that the asker has not taken yet.
#[derive(Debug, Default)]
pub struct Parts {
    /// The first part, until the asker takes it.
    pub first: Option<Envelope>,
    /// Bodies of the other parts, in order.
    pub waiting: VecDeque<Bytes>,
    /// Bytes of `waiting`, including [`PART_COST`](crate::limits::PART_COST) for each part.
    pub bytes: usize,
    /// How the reply ended; `None` while parts are expected.
    pub ended: Option<PartsEnd>,
    /// The time that each part may take: as long as the request's original time to live.
    pub patience: Duration,
}

/// How a reply in parts ended.
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
