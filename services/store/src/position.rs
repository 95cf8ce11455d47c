//! The place of a commit in the order of all commits: the cursor of services whose rows are keyed
//! by versionstamp.
//!
//! Owns the 10 bytes of a versionstamp and their text. Invariant: positions compare like the
//! commits that made them; every position that a transaction can see is at most
//! [`Position::newest_at`] of its read version.

use std::fmt;

use bytes::{BufMut, BytesMut};
use foundationdb_tuple::Versionstamp;

use crate::limits::STAMP_BYTES;

/// The versionstamp of the commit that made a change. Its text is 20 hexadecimal digits, opaque to
/// clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position([u8; STAMP_BYTES]);

impl Position {
    /// Before every change.
    pub const FIRST: Self = Self([0; STAMP_BYTES]);

    /// After every change.
    pub const LAST: Self = Self([u8::MAX; STAMP_BYTES]);

    /// At or after every commit up to `version`, and before every later one.
    #[must_use]
    pub fn newest_at(version: u64) -> Self {
        let mut stamp = [u8::MAX; STAMP_BYTES];
        stamp[..8].copy_from_slice(&version.to_be_bytes());
        Self(stamp)
    }

    /// Parses a cursor; `None` when the text is not a position.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 2 * STAMP_BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let mut stamp = [0; STAMP_BYTES];
        for (at, byte) in stamp.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
        }
        Some(Self(stamp))
    }

    /// Writes the position's text.
    pub fn put_hex(&self, out: &mut BytesMut) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        for byte in self.0 {
            out.put_u8(DIGITS[usize::from(byte >> 4)]);
            out.put_u8(DIGITS[usize::from(byte & 15)]);
        }
    }

    /// The bytes as they are stored.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; STAMP_BYTES] {
        &self.0
    }

    /// Reads a position from the beginning of `bytes`; `None` when they are too short.
    #[must_use]
    pub fn from_prefix(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk().copied().map(Self)
    }

    /// The position at the end of a key whose last element is [`Position::stamp`].
    ///
    /// # Panics
    /// When the key is shorter than a versionstamp of 12 bytes.
    #[must_use]
    pub fn of_key(key: &[u8]) -> Self {
        let stamp = key.last_chunk::<12>().and_then(|stamp| stamp.first_chunk().copied());
        Self(stamp.expect("the key was packed with a versionstamp of 12 bytes at its end"))
    }

    /// The position as an element of a tuple.
    #[must_use]
    pub fn stamp(&self) -> Versionstamp {
        Versionstamp::complete(self.0, 0)
    }
}

impl From<[u8; STAMP_BYTES]> for Position {
    fn from(stamp: [u8; STAMP_BYTES]) -> Self {
        Self(stamp)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_and_other_text_is_refused() {
        let position = Position([0, 1, 2, 3, 250, 5, 6, 7, 8, 255]);
        assert_eq!(position.to_string(), "00010203fa05060708ff");
        let mut text = BytesMut::new();
        position.put_hex(&mut text);
        assert_eq!(text, position.to_string());
        assert_eq!(Position::parse("00010203fa05060708ff"), Some(position));
        for bad in
            ["", "00", "00010203fa05060708f", "00010203fa05060708fg", "+0010203fa05060708ff", "éééééééééé"]
        {
            assert_eq!(Position::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_version_lies_between_its_own_commits_and_the_next() {
        let of = |version: u64, order: u16| {
            let mut stamp = [0; STAMP_BYTES];
            stamp[..8].copy_from_slice(&version.to_be_bytes());
            stamp[8..].copy_from_slice(&order.to_be_bytes());
            Position(stamp)
        };
        assert!(of(7, 65_534) < Position::newest_at(7) && Position::newest_at(7) < of(8, 0));
        assert!(Position::FIRST < of(1, 0) && of(u64::MAX >> 1, 0) < Position::LAST);
    }
}
