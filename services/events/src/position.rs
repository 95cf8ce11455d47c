//! The place of an event in the order of all events. `store::Position` is the place of a whole
//! commit.
//!
//! Owns the 12 bytes and their text: the versionstamp of the commit (8 bytes version, 2 bytes order
//! among the commits of that version) and the event's place in that commit (2 bytes), all
//! big-endian, so the order of the bytes is the order of the events.
//!
//! Invariant: text and bytes sort alike.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use store::{Versionstamp, limits::STAMP_BYTES};

use crate::limits::NEAR_MAX;

/// Bytes of a position.
pub(crate) const POSITION_BYTES: usize = STAMP_BYTES + 2;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// A position of an event, or of a read between events. Clients see 24 hexadecimal digits and may
/// compare them as text, but must not interpret them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventPosition([u8; POSITION_BYTES]);

/// The text is not a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a position is 24 hexadecimal digits, as answers give it")]
pub struct BadPosition;

impl EventPosition {
    /// Before all events.
    pub const START: Self = Self([0; POSITION_BYTES]);

    /// The position of the `index`th event of the commit `stamp`.
    #[must_use]
    pub fn new(stamp: [u8; STAMP_BYTES], index: u16) -> Self {
        let mut bytes = [0; POSITION_BYTES];
        bytes[..STAMP_BYTES].copy_from_slice(&stamp);
        bytes[STAMP_BYTES..].copy_from_slice(&index.to_be_bytes());
        Self(bytes)
    }

    /// After all events that a transaction with this read version sees, and before all others.
    /// Reads and commits share one sequence of versions.
    #[must_use]
    pub fn seen_at(read_version: u64) -> Self {
        let mut bytes = [0xff; POSITION_BYTES];
        bytes[..8].copy_from_slice(&read_version.to_be_bytes());
        Self(bytes)
    }

    /// The version of the commit.
    pub(crate) fn version(&self) -> u64 {
        u64::from_be_bytes(*self.0.first_chunk().expect("a position has 12 bytes"))
    }

    /// The position at the end of a key or value.
    ///
    /// # Panics
    /// When `bytes` has fewer than 12 bytes. Keys and values of this service have more.
    #[must_use]
    pub(crate) fn at_end_of(bytes: &[u8]) -> Self {
        Self(*bytes.last_chunk().expect("keys of lists and values of ids end with a position"))
    }

    /// The event with this index in the same commit.
    pub(crate) fn with_index(self, index: u16) -> Self {
        let mut bytes = self.0;
        bytes[STAMP_BYTES..].copy_from_slice(&index.to_be_bytes());
        Self(bytes)
    }

    /// True when the events are of one commit and not farther apart there than reading those
    /// between costs less than another read.
    pub(crate) fn is_near(&self, other: &Self) -> bool {
        let index =
            |position: &Self| u16::from_be_bytes([position.0[STAMP_BYTES], position.0[STAMP_BYTES + 1]]);
        self.0[..STAMP_BYTES] == other.0[..STAMP_BYTES] && index(self).abs_diff(index(other)) <= NEAR_MAX
    }

    pub(crate) fn as_bytes(&self) -> &[u8; POSITION_BYTES] {
        &self.0
    }

    /// The position as 24 digits.
    #[must_use]
    pub fn digits(&self) -> [u8; 2 * POSITION_BYTES] {
        let mut digits = [0; 2 * POSITION_BYTES];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        digits
    }
}

impl From<EventPosition> for Versionstamp {
    fn from(position: EventPosition) -> Self {
        Self::from(position.0)
    }
}

impl fmt::Display for EventPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.digits();
        f.write_str(std::str::from_utf8(&digits).expect("hexadecimal digits are ASCII"))
    }
}

impl fmt::Debug for EventPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for EventPosition {
    type Err = BadPosition;

    fn from_str(text: &str) -> Result<Self, BadPosition> {
        let digits: &[u8; 2 * POSITION_BYTES] = text.as_bytes().try_into().map_err(|_| BadPosition)?;
        let mut bytes = [0; POSITION_BYTES];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = (digit(pair[0])? << 4) | digit(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for EventPosition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventPosition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

fn digit(byte: u8) -> Result<u8, BadPosition> {
    // Only one spelling is accepted, because clients compare positions as text.
    let at = DIGITS.iter().position(|&digit| digit == byte).ok_or(BadPosition)?;
    u8::try_from(at).map_err(|_| BadPosition)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_is_read_back_and_sorts_as_the_bytes_do(a: [u8; 12], b: [u8; 12]) {
            let (a, b) = (EventPosition(a), EventPosition(b));
            prop_assert_eq!(a.to_string().parse(), Ok(a));
            prop_assert_eq!(a.to_string().cmp(&b.to_string()), a.cmp(&b));
        }
    }

    #[test]
    fn what_is_no_position_is_refused() {
        for text in
            ["", "0", "00000000000000000000000g", "0000000000000000000000000", "0000000000000000000000FF"]
        {
            assert_eq!(text.parse::<EventPosition>(), Err(BadPosition), "{text}");
        }
    }

    #[test]
    fn what_a_read_version_sees_is_before_it_and_the_rest_behind() {
        let stamp = |version: u64, order: u16| {
            let mut stamp = [0; STAMP_BYTES];
            stamp[..8].copy_from_slice(&version.to_be_bytes());
            stamp[8..].copy_from_slice(&order.to_be_bytes());
            stamp
        };
        let seen = EventPosition::seen_at(7);
        assert!(EventPosition::new(stamp(7, 4095), 999) < seen && seen < EventPosition::new(stamp(8, 0), 0));
        assert!(EventPosition::START < EventPosition::new(stamp(0, 0), 1));
    }
}
