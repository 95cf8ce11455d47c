//! The name of an item or a message: the place where its commit put it.
//!
//! Owns the 12 bytes and their text. Invariant: ids compare like the commits that made them, and
//! within one commit like the order of the calls.

use std::{fmt, str::FromStr};

use foundationdb_tuple::Versionstamp;

use crate::limits::STAMP_BYTES;

/// Bytes of an id: a versionstamp, and the order within the transaction.
pub const ID_BYTES: usize = STAMP_BYTES + 2;

/// A versionstamp of 12 bytes. Its text is 24 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id([u8; ID_BYTES]);

impl Id {
    /// Before every id of a commit.
    pub const FIRST: Self = Self([0; ID_BYTES]);

    /// At or after every id of the commits up to `version`, and before every later one.
    #[must_use]
    pub fn newest_at(version: u64) -> Self {
        let mut bytes = [u8::MAX; ID_BYTES];
        bytes[..8].copy_from_slice(&version.to_be_bytes());
        Self(bytes)
    }

    /// The bytes, in the order in which ids compare.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; ID_BYTES] {
        &self.0
    }

    /// The id that a commit with `stamp` gave to its incomplete stamp.
    pub(crate) fn completed(stamp: [u8; STAMP_BYTES], incomplete: &Versionstamp) -> Self {
        Self(*Versionstamp::complete(stamp, incomplete.user_version()).as_bytes())
    }

    /// The id at the end of a key whose last element is a versionstamp; `None` for a shorter key.
    pub(crate) fn of_key(key: &[u8]) -> Option<Self> {
        key.last_chunk().copied().map(Self)
    }

    /// The id in a value; `None` for a value of another length.
    pub(crate) fn of_value(value: &[u8]) -> Option<Self> {
        value.try_into().ok().map(Self)
    }

    /// The id as an element of a tuple.
    pub(crate) fn stamp(self) -> Versionstamp {
        Versionstamp::from(self.0)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A text that is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an id: write its {} hexadecimal digits", 2 * ID_BYTES)]
pub struct BadId {
    text: String,
}

impl FromStr for Id {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let bad = || BadId { text: text.chars().take(4 * ID_BYTES).collect() };
        if text.len() != 2 * ID_BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(bad());
        }
        let mut bytes = [0; ID_BYTES];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| bad())?;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_back_and_other_text_is_refused() {
        let id = Id([0, 1, 2, 3, 250, 5, 6, 7, 8, 255, 0, 9]);
        assert_eq!(id.to_string(), "00010203fa05060708ff0009");
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in
            ["", "00", "00010203fa05060708ff00090", "0g010203fa05060708ff0009", "+1010203fa05060708ff0009"]
        {
            let refused = bad.parse::<Id>().unwrap_err();
            assert!(refused.to_string().contains("24 hexadecimal digits"), "{refused}");
        }
    }

    #[test]
    fn a_version_lies_between_its_own_ids_and_the_next() {
        let of = |version: u64, order: u16| {
            let mut stamp = [0; STAMP_BYTES];
            stamp[..8].copy_from_slice(&version.to_be_bytes());
            Id::completed(stamp, &Versionstamp::incomplete(order))
        };
        assert!(of(7, 0) < of(7, 1) && of(7, 65_535) < Id::newest_at(7) && Id::newest_at(7) < of(8, 0));
        assert!(Id::FIRST < of(1, 0));
    }
}
