//! The writes of a transaction in order, and the arithmetic of atomic add.

use bytes::{Bytes, BytesMut};

use crate::size;

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// `key` becomes `value`.
    Set { key: Bytes, value: Bytes },
    /// `key` is removed.
    Clear { key: Bytes },
    /// The keys from `begin` to before `end` are removed.
    ClearRange { begin: Bytes, end: Bytes },
    /// `operand` is added to the value of `key`.
    Add { key: Bytes, operand: Bytes },
    /// `key`, with the stamp at `offset`, becomes `value`.
    SetStampedKey { key: Bytes, offset: usize, value: Bytes },
    /// `key` becomes `value`, with the stamp at `offset`.
    SetStampedValue { key: Bytes, value: Bytes, offset: usize },
}

impl Mutation {
    /// Bytes that count towards [`crate::limits::TRANSACTION_BYTES_MAX`]: the write's and its
    /// conflict range's.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Set { key, value }
            | Self::SetStampedKey { key, value, .. }
            | Self::SetStampedValue { key, value, .. }
            | Self::Add { key, operand: value } => size::key_write(key.len(), value.len()),
            Self::Clear { key } => size::key_write(key.len(), 0),
            Self::ClearRange { begin, end } => size::range_write(begin.len(), end.len()),
        }
    }
}

/// The sum of two little-endian integers of `operand`'s length; wraps. A missing value is zero, a
/// shorter one is extended with zeros, a longer one is cut (FoundationDB's `ADD`).
pub(crate) fn add(value: Option<&[u8]>, operand: &[u8]) -> Bytes {
    let mut carry = 0;
    let digits = value.unwrap_or_default().iter().copied().chain(std::iter::repeat(0));
    operand
        .iter()
        .zip(digits)
        .map(|(&a, b)| {
            let [low, high] = (u16::from(a) + u16::from(b) + carry).to_le_bytes();
            carry = u16::from(high);
            low
        })
        .collect()
}

/// `bytes` with `stamp` at `offset`, as far as it fits.
pub(crate) fn stamped(bytes: Bytes, offset: usize, stamp: &[u8]) -> Bytes {
    // In place when the bytes are not shared.
    let mut stamped = BytesMut::from(bytes);
    stamped[offset..offset + stamp.len()].copy_from_slice(stamp);
    stamped.freeze()
}

/// The first key after `key`.
pub(crate) fn successor(key: &[u8]) -> Bytes {
    let mut next = BytesMut::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.extend_from_slice(&[0]);
    next.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn add_takes_the_length_of_its_operand_and_wraps() {
        assert_eq!(add(None, &[1, 2]), [1, 2][..]);
        assert_eq!(add(Some(&[255]), &[1, 0]), [0, 1][..]);
        assert_eq!(add(Some(&[1, 9, 9]), &[1]), [2][..]);
        assert_eq!(add(Some(&[255, 255]), &[1, 0]), [0, 0][..]);
        assert_eq!(add(Some(&[7]), &[]), [][..]);
        let sum = add(Some(&5i64.to_le_bytes()), &(-7i64).to_le_bytes());
        assert_eq!(sum, (-2i64).to_le_bytes()[..]);
    }
}
