//! The options of `Connection` (RFC 9110 section 7.6.1).
//!
//! Owns what they say about persistence, and which fields are hop-by-hop. Leaves dropping those
//! fields to the caller and to `response`. Invariant: at most [`OPTIONS_MAX`] options are compared.

use crate::Error;
use crate::grammar::{members, trimmed};
use crate::limits::OPTIONS_MAX;

/// True when a field of this name, in lower case, is always hop-by-hop: the fields of RFC 9110
/// section 7.6.1, and those that frame a body.
#[inline]
pub(crate) fn is_hop_by_hop(name: &[u8]) -> bool {
    match name.len() {
        2 => name == b"te",
        // Reserved: `Connection: close` would list it as a field (RFC 9110 section 7.6.1).
        5 => name == b"close",
        7 => name == b"trailer" || name == b"upgrade",
        10 => name == b"connection" || name == b"keep-alive",
        14 => name == b"content-length",
        16 => name == b"proxy-connection",
        17 => name == b"transfer-encoding",
        _ => false,
    }
}

/// What the options of a request say about the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wishes {
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    pub(crate) upgrade: bool,
    /// True when an option may be the name of a field.
    pub(crate) named: bool,
    pub(crate) count: usize,
}

impl Wishes {
    /// Adds the options of one `Connection` field.
    #[inline]
    pub(crate) fn add(&mut self, value: &[u8]) {
        for option in value.split(|byte| *byte == b',').map(trimmed) {
            // Empty options count too: RFC 9110 section 5.6.1.2 only asks to ignore a reasonable
            // number of them.
            self.count += 1;
            if self.count > OPTIONS_MAX {
                return;
            }
            if option.is_empty() {
                continue;
            }
            if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else {
                self.upgrade |= option.eq_ignore_ascii_case(b"upgrade");
                self.named = true;
            }
        }
    }

    /// True when the client wants a persistent connection (RFC 9112 section 9.3).
    #[inline]
    pub(crate) fn persists(self, is_1_0: bool) -> bool {
        !self.close && (self.keep_alive || !is_1_0)
    }
}

/// The options of all `Connection` fields of one head.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    all: [&'a [u8]; OPTIONS_MAX],
    /// Their hashes, which are compared first, so that long options with a common prefix cost no
    /// more than others.
    hashes: [u64; OPTIONS_MAX],
    len: usize,
}

impl<'a> Options<'a> {
    /// Collects the options of `values`.
    ///
    /// # Errors
    /// [`Error::TooManyOptions`] above 32.
    pub fn of(values: impl Iterator<Item = &'a [u8]>) -> Result<Self, Error> {
        let mut options = Self { all: [&[]; OPTIONS_MAX], hashes: [0; OPTIONS_MAX], len: 0 };
        for option in values.flat_map(members) {
            let place = options.all.get_mut(options.len);
            *place.ok_or(Error::TooManyOptions { limit: OPTIONS_MAX })? = option;
            options.hashes[options.len] = hash(option);
            options.len += 1;
        }
        Ok(options)
    }

    /// True when `name` is one of the options.
    #[inline]
    #[must_use]
    pub fn name(&self, name: &[u8]) -> bool {
        let hash = hash(name);
        let mut options = self.hashes[..self.len].iter().zip(&self.all);
        options.any(|(found, option)| *found == hash && option.eq_ignore_ascii_case(name))
    }
}

/// A hash that ignores case, computed eight bytes at a time.
#[inline]
fn hash(name: &[u8]) -> u64 {
    let add = |hash: u64, word: u64| {
        (hash.rotate_left(5) ^ (word | 0x2020_2020_2020_2020)).wrapping_mul(0x517c_c1b7_2722_0a95)
    };
    let (words, rest) = name.as_chunks();
    let front = words.iter().fold(name.len() as u64, |hash, word| add(hash, u64::from_le_bytes(*word)));
    add(front, rest.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_name_fields_in_any_case_and_over_several_fields() {
        let options = Options::of([&b"close, X-One ,"[..], b"x-two"].into_iter()).unwrap();
        for (name, named) in [("x-one", true), ("x-two", true), ("x-three", false), ("x-on", false)] {
            assert_eq!(options.name(name.as_bytes()), named, "{name}");
        }
    }

    #[test]
    fn too_many_options_are_refused_before_they_cost_anything() {
        let value = ["a"; OPTIONS_MAX + 1].join(",").into_bytes();
        assert_eq!(
            Options::of(std::iter::once(&value[..])).unwrap_err(),
            Error::TooManyOptions { limit: OPTIONS_MAX }
        );
        assert!(Options::of(std::iter::once(&value[2..])).is_ok());
    }

    #[test]
    fn a_connection_stays_as_its_version_has_it_unless_an_option_says_otherwise() {
        for (values, in_1_0, in_1_1) in [
            (&[][..], false, true),
            (&["upgrade"], false, true),
            (&["x, Keep-Alive"], true, true),
            (&["Close"], false, false),
            (&["close", "keep-alive"], false, false),
            (&["keep-alive", "x,close"], false, false),
        ] {
            let mut wishes = Wishes::default();
            values.iter().for_each(|value: &&str| wishes.add(value.as_bytes()));
            assert_eq!((wishes.persists(true), wishes.persists(false)), (in_1_0, in_1_1), "{values:?}");
        }
    }

    #[test]
    fn end_to_end_fields_go_on() {
        for (name, ends) in [
            ("connection", true),
            ("keep-alive", true),
            ("proxy-connection", true),
            ("te", true),
            ("upgrade", true),
            ("trailer", true),
            ("transfer-encoding", true),
            ("content-length", true),
            ("content-type", false),
            ("authorization", false),
            ("x-keep-alive", false),
        ] {
            assert_eq!(is_hop_by_hop(name.as_bytes()), ends, "{name}");
        }
    }
}
