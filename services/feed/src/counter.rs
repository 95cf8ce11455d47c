//! Counters in the store.
//!
//! Owns their form, little-endian integers that commits add to, and the number above which unread
//! entries are no longer counted.

use bytes::Bytes;

/// One, as an operand of an addition.
pub(crate) const ONE: [u8; 8] = 1_u64.to_le_bytes();

/// Minus one, as an operand of an addition: counters wrap.
pub(crate) const MINUS_ONE: [u8; 8] = [u8::MAX; 8];

/// Most unread entries that are counted; a larger number is of no use to readers.
pub(crate) const UNREAD_MAX: u64 = 1_000;

/// A counter's value; a missing counter is zero.
pub(crate) fn number(value: Option<&Bytes>) -> u64 {
    value.and_then(|value| value.first_chunk().copied()).map_or(0, u64::from_le_bytes)
}
