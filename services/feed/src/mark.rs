//! The value of a `read` row: how far a member has read.
//!
//! Owns the bytes of the row. `unread` reads and writes the rows. Invariant: a missing row says
//! that nothing was read.

use store::{Position, limits::STAMP_BYTES};

/// Up to where a member has read.
pub(crate) struct Mark {
    /// Entries at and before this position are read.
    pub(crate) position: Position,
    /// Copies that had arrived up to the position.
    pub(crate) arrived: u64,
}

impl Mark {
    pub(crate) fn of(value: Option<&[u8]>) -> Self {
        let parse = |value: &[u8]| {
            let arrived = value.get(STAMP_BYTES..)?.first_chunk().copied()?;
            Some(Self { position: Position::from_prefix(value)?, arrived: u64::from_le_bytes(arrived) })
        };
        value.and_then(parse).unwrap_or(Self { position: Position::FIRST, arrived: 0 })
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        [&self.position.as_bytes()[..], &self.arrived.to_le_bytes()].concat()
    }
}
