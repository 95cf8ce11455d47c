//! Bytes of a read or a write that count towards [`crate::limits::TRANSACTION_BYTES_MAX`], the same
//! on every backend.
//!
//! Follows FoundationDB's `approximateSize`: the bytes, both ends of the conflict range, and what
//! its client stores beside each. Pure.

/// `sizeof(MutationRef)` and `sizeof(KeyRangeRef)` of FoundationDB 7.1: one mutation and its
/// conflict range.
const WRITE: usize = 28 + READ;

/// `sizeof(KeyRangeRef)`: one conflict range.
const READ: usize = 24;

/// A write of one key, with its value or operand.
pub(crate) fn key_write(key_len: usize, value_len: usize) -> usize {
    key_len + value_len + 2 * key_len + 1 + WRITE
}

/// Clearing a range.
pub(crate) fn range_write(begin_len: usize, end_len: usize) -> usize {
    2 * (begin_len + end_len) + WRITE
}

/// A conflicting read of one key.
pub(crate) fn key_read(key_len: usize) -> usize {
    2 * key_len + 1 + READ
}

/// A conflicting read of a range.
pub(crate) fn range_read(begin_len: usize, end_len: usize) -> usize {
    begin_len + end_len + READ
}
