//! A part of a store under a name: every key begins with it, unseen by who uses the part.
//!
//! Owns the name's form, and a backend that adds the prefix to keys and takes it off answers. It
//! leaves storing to the backend behind it, and sizes other than a key's to [`crate::limits`].
//!
//! Invariant: a part neither reads nor writes a key outside it. So its first and last keys are
//! those of the part, also for selectors that step further.

use std::{fmt, path::Path, str::FromStr, sync::Arc};

use bytes::Bytes;

use crate::{
    answer::Answer,
    backend::{Access, Backend, BackendTransaction, Reads},
    backup::{Backup, BackupError},
    check::check_key_len,
    error::{Error, RetryError},
    limits,
    options::RunOptions,
    range::{KeySelector, KeyValue, Range, RangeBatch},
    watch::{CommitStamp, Watch},
};

/// Longest name, in bytes: it is a part of every key.
const NAME_BYTES_MAX: usize = 64;

/// The name of a part of a store. Its keys are `NAME/` and the part's own key: a letter, then
/// letters, digits, `-`, `_` and `.`, at most 64 bytes. No tuple begins like that, so a part never
/// meets keys of services without one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix {
    /// The name and a slash.
    text: Arc<str>,
}

/// The text is not the name of a part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "prefix `{name}` is not a name: use a letter, then letters, digits, `-`, `_` and `.`, at most 64 in all"
)]
pub struct PrefixError {
    /// The text.
    pub name: String,
}

impl Prefix {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text.strip_suffix('/').expect("a slash was appended to the name")
    }

    fn bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// The first key after the part.
    fn end(&self) -> Bytes {
        let mut end = self.bytes().to_vec();
        *end.last_mut().expect("a slash was appended to the name") += 1;
        end.into()
    }

    /// The key in the store of `key` in the part.
    ///
    /// # Errors
    /// [`crate::CallerError::KeyTooLarge`].
    pub(crate) fn key(&self, key: &[u8]) -> Result<Vec<u8>, Error> {
        let key = [self.bytes(), key].concat();
        check_key_len(&key)?;
        Ok(key)
    }

    /// As [`Prefix::key`], for an end of a range: the system's keys are behind the part.
    fn bound(&self, bound: &[u8]) -> Result<Bytes, Error> {
        match bound {
            [limits::SYSTEM_KEY_PREFIX] => Ok(self.end()),
            key => self.key(key).map(Bytes::from),
        }
    }

    fn selector(&self, selector: &KeySelector) -> Result<KeySelector, Error> {
        let key = self.bound(&selector.key)?;
        // The key behind the part may exist, and is not the part's.
        let or_equal = selector.or_equal && selector.key[..] != [limits::SYSTEM_KEY_PREFIX];
        Ok(KeySelector { key, or_equal, offset: selector.offset })
    }

    /// What a selector of the part names, as [`BackendTransaction::select`] answers it.
    fn selected(&self, key: &Bytes) -> Bytes {
        match key.strip_prefix(self.bytes()) {
            Some(own) => key.slice_ref(own),
            None if key[..] < *self.bytes() => Bytes::new(),
            None => Bytes::from_static(&[limits::SYSTEM_KEY_PREFIX]),
        }
    }

    fn row(&self, row: KeyValue) -> KeyValue {
        let own = row.key.strip_prefix(self.bytes()).expect("a range of a part has its keys alone");
        KeyValue { key: row.key.slice_ref(own), value: row.value }
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(name: &str) -> Result<Self, PrefixError> {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let begins = name.bytes().next().is_some_and(|first| first.is_ascii_alphabetic());
        if !begins || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_part) {
            return Err(PrefixError { name: name.to_owned() });
        }
        Ok(Self { text: format!("{name}/").into() })
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A part of the store `whole`.
pub(crate) struct Part {
    pub(crate) whole: Arc<dyn Backend>,
    pub(crate) prefix: Prefix,
}

impl Backend for Part {
    fn begin(&self, options: &RunOptions, access: Access) -> Box<dyn BackendTransaction> {
        let whole = self.whole.begin(options, access);
        Box::new(PartTransaction { whole, prefix: self.prefix.clone() })
    }

    fn get<'a>(&'a self, key: &'a [u8]) -> Answer<'a, Option<Bytes>> {
        Answer::later(async move { self.whole.get(&self.prefix.key(key)?).await })
    }

    fn backup(&self, to: &Path) -> Result<Backup, BackupError> {
        self.whole.backup(to)
    }
}

struct PartTransaction {
    whole: Box<dyn BackendTransaction>,
    prefix: Prefix,
}

impl PartTransaction {
    /// The range in the store. A selector that steps may leave the part, so its key is read first;
    /// one that steps to the next key ends at the part's end at the latest.
    async fn range_of(&self, range: &Range, reads: Reads) -> Result<Range, Error> {
        let begin = self.end_of(&range.begin, reads).await?;
        let end = self.end_of(&range.end, reads).await?;
        Ok(Range { begin, end, ..range.clone() })
    }

    async fn end_of(&self, selector: &KeySelector, reads: Reads) -> Result<KeySelector, Error> {
        if selector.offset == 1 {
            return self.prefix.selector(selector);
        }
        let key = self.select(selector, reads).await?;
        Ok(KeySelector::first_greater_or_equal(self.prefix.bound(&key)?))
    }
}

impl BackendTransaction for PartTransaction {
    fn read_version(&self) -> Answer<'_, u64> {
        self.whole.read_version()
    }

    fn get(&self, key: &[u8], reads: Reads) -> Answer<'_, Option<Bytes>> {
        match self.prefix.key(key) {
            Ok(key) => self.whole.get(&key, reads),
            Err(error) => Err(error).into(),
        }
    }

    fn select(&self, selector: &KeySelector, reads: Reads) -> Answer<'_, Bytes> {
        let selector = self.prefix.selector(selector);
        Answer::later(async move { Ok(self.prefix.selected(&self.whole.select(&selector?, reads).await?)) })
    }

    fn range(&self, range: &Range, reads: Reads) -> Answer<'_, RangeBatch> {
        let range = range.clone();
        Answer::later(async move {
            let whole = self.range_of(&range, reads).await?;
            let batch = self.whole.range(&whole, reads).await?;
            let rows: Vec<_> = batch.rows.into_iter().map(|row| self.prefix.row(row)).collect();
            let next = match (batch.next, rows.last()) {
                (Some(_), Some(last)) => range.rest(&last.key, rows.len()),
                _ => None,
            };
            Ok(RangeBatch { rows, next })
        })
    }

    fn set(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.whole.set(&self.prefix.key(key)?, value)
    }

    fn clear(&self, key: &[u8]) -> Result<(), Error> {
        self.whole.clear(&self.prefix.key(key)?)
    }

    fn clear_range(&self, begin: &[u8], end: &[u8]) -> Result<(), Error> {
        self.whole.clear_range(&self.prefix.bound(begin)?, &self.prefix.bound(end)?)
    }

    fn add(&self, key: &[u8], operand: &[u8]) -> Result<(), Error> {
        self.whole.add(&self.prefix.key(key)?, operand)
    }

    fn set_versionstamped_key(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let mut key = self.prefix.key(key)?;
        let offset = key.last_chunk_mut().expect("the offset was checked");
        let begin = u32::try_from(self.prefix.bytes().len()).expect("a name is short");
        *offset = (u32::from_le_bytes(*offset) + begin).to_le_bytes();
        self.whole.set_versionstamped_key(&key, value)
    }

    fn set_versionstamped_value(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.whole.set_versionstamped_value(&self.prefix.key(key)?, value)
    }

    fn versionstamp(&self) -> CommitStamp {
        self.whole.versionstamp()
    }

    fn watch(&self, key: &[u8]) -> Result<Watch, Error> {
        self.whole.watch(&self.prefix.key(key)?)
    }

    fn commit(&mut self) -> Answer<'_, ()> {
        self.whole.commit()
    }

    fn on_error(&mut self, error: RetryError) -> Answer<'_, ()> {
        self.whole.on_error(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_beginning_of_a_tuple_and_of_no_other_name_s_keys() {
        for name in ["", "1a", "_a", "a/b", "a b", "\u{e4}", &"a".repeat(65)] {
            let refused = name.parse::<Prefix>().unwrap_err().to_string();
            assert!(refused.contains(&format!("`{name}`")), "{refused}");
        }
        let [short, long] = ["a", "a-1"].map(|name| name.parse::<Prefix>().unwrap());
        assert!(!long.bytes().starts_with(short.bytes()));
        assert_eq!(long.name(), "a-1");
    }

    #[test]
    fn what_lies_outside_a_part_is_before_its_first_key_or_after_its_last() {
        let part: Prefix = "m".parse().unwrap();
        let selected = |key: &'static str| part.selected(&Bytes::from_static(key.as_bytes()));
        assert_eq!(selected("m/x"), "x");
        assert_eq!(selected("a"), "");
        assert_eq!(selected("m0"), [limits::SYSTEM_KEY_PREFIX][..]);
        assert_eq!(part.bound(&[limits::SYSTEM_KEY_PREFIX]).unwrap(), "m0");
    }

    #[test]
    fn a_key_must_fit_with_its_prefix() {
        let part: Prefix = "m".parse().unwrap();
        assert!(part.key(&vec![b'x'; limits::KEY_BYTES_MAX - 2]).is_ok());
        assert!(part.key(&vec![b'x'; limits::KEY_BYTES_MAX - 1]).is_err());
    }
}
