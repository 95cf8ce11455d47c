//! The writes of one attempt: in order for the committer, and by key for its own reads.
//!
//! Invariant: `by_key` and `cleared` together describe what `log` does to each key: a key in
//! `by_key` as stated there; otherwise removed if inside `cleared`; otherwise untouched.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Included},
};

use bytes::Bytes;

use super::mutation::{Mutation, add};
use crate::{
    error::{CallerError, Error},
    limits,
};

/// The writes of one attempt.
#[derive(Default)]
pub(crate) struct WriteBuffer {
    log: Vec<Mutation>,
    by_key: BTreeMap<Bytes, Written>,
    /// Maps each begin to its end; no two ranges touch.
    cleared: BTreeMap<Bytes, Bytes>,
    /// Writes whose key or value a versionstamp decides: the write's index in `log`, and the read
    /// version at that time.
    stamped: Vec<(usize, Option<u64>)>,
    bytes: usize,
}

/// The effect of the writes on one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Written {
    /// The key has this value afterwards, or none.
    Value(Option<Bytes>),
    /// These operands are added to the existing value, in order.
    Added(Vec<Bytes>),
}

impl Written {
    /// The value afterwards, when `base` is the value before.
    pub(crate) fn over(&self, base: Option<Bytes>) -> Option<Bytes> {
        match self {
            Self::Value(value) => value.clone(),
            Self::Added(operands) => {
                operands.iter().fold(base, |sum, operand| Some(add(sum.as_deref(), operand)))
            }
        }
    }
}

impl WriteBuffer {
    pub(crate) fn is_empty(&self) -> bool {
        self.log.is_empty()
    }

    /// Bytes as [`limits::TRANSACTION_BYTES_MAX`] counts them.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Removes and returns the writes in order.
    pub(crate) fn take(&mut self) -> Vec<Mutation> {
        std::mem::take(self).log
    }

    /// Adds a write. `read_version` is the transaction's read version, if it has one.
    ///
    /// # Errors
    /// [`CallerError::TransactionTooLarge`]; the write is not added then.
    pub(crate) fn push(&mut self, mutation: Mutation, read_version: Option<u64>) -> Result<(), Error> {
        let bytes = self.bytes + mutation.bytes();
        if bytes > limits::TRANSACTION_BYTES_MAX {
            return Err(CallerError::TransactionTooLarge { len: bytes }.into());
        }
        self.bytes = bytes;
        match &mutation {
            Mutation::Set { key, value } => {
                self.by_key.insert(key.clone(), Written::Value(Some(value.clone())));
            }
            Mutation::Clear { key } => {
                self.by_key.insert(key.clone(), Written::Value(None));
            }
            Mutation::ClearRange { begin, end } => self.clear_range(begin, end),
            Mutation::Add { key, operand } => self.add(key, operand),
            Mutation::SetStampedKey { .. } | Mutation::SetStampedValue { .. } => {
                self.stamped.push((self.log.len(), read_version));
            }
        }
        self.log.push(mutation);
        Ok(())
    }

    /// The effect of the writes on `key`; `None` if there is none.
    pub(crate) fn written(&self, key: &[u8]) -> Option<Written> {
        match self.by_key.get(key) {
            Some(written) => Some(written.clone()),
            None => self.is_cleared(key).then_some(Written::Value(None)),
        }
    }

    /// True when `key` is inside a cleared range. It may have been written since.
    pub(crate) fn is_cleared(&self, key: &[u8]) -> bool {
        let before = self.cleared.range::<[u8], _>((Included(&b""[..]), Included(key))).next_back();
        before.is_some_and(|(_, end)| key < &end[..])
    }

    /// The single keys written, from `begin` to before `end`; `begin` must be before `end`.
    pub(crate) fn keys(
        &self,
        begin: &[u8],
        end: &[u8],
    ) -> impl DoubleEndedIterator<Item = (&Bytes, &Written)> {
        self.by_key.range::<[u8], _>((Included(begin), Excluded(end)))
    }

    /// Refuses a read of `begin` to before `end` that includes a versionstamp which is not known
    /// yet.
    pub(crate) fn check_readable(&self, begin: &[u8], end: &[u8]) -> Result<(), Error> {
        let meets = |&(at, read_version): &(usize, Option<u64>)| match &self.log[at] {
            Mutation::SetStampedValue { key, .. } => begin <= &key[..] && &key[..] < end,
            Mutation::SetStampedKey { key, offset, .. } => {
                let (before, after) = (&key[..*offset], &key[offset + limits::STAMP_BYTES..]);
                let with = |stamp| before.iter().chain(stamp).chain(after);
                let mut first = [0; limits::STAMP_BYTES];
                first[..8].copy_from_slice(&read_version.map_or(0, |version| version + 1).to_be_bytes());
                with(&[u8::MAX; limits::STAMP_BYTES]).ge(begin) && with(&first).lt(end)
            }
            _ => unreachable!("only writes with a stamp are in `stamped`"),
        };
        match self.stamped.iter().any(meets) {
            true => Err(CallerError::AccessedUnreadable.into()),
            false => Ok(()),
        }
    }

    fn add(&mut self, key: &Bytes, operand: &Bytes) {
        let cleared = self.is_cleared(key);
        let written = self.by_key.entry(key.clone()).or_insert_with(|| match cleared {
            true => Written::Value(None),
            false => Written::Added(Vec::new()),
        });
        match written {
            Written::Value(value) => *value = Some(add(value.as_deref(), operand)),
            Written::Added(operands) => operands.push(operand.clone()),
        }
    }

    fn clear_range(&mut self, begin: &Bytes, end: &Bytes) {
        if begin >= end {
            return;
        }
        self.by_key.extract_if::<_, _>(begin.clone()..end.clone(), |_, _| true).for_each(drop);
        let (mut begin, mut end) = (begin.clone(), end.clone());
        if let Some((from, to)) = self.cleared.range(..=begin.clone()).next_back()
            && *to >= begin
        {
            (begin, end) = (from.clone(), end.max(to.clone()));
        }
        while let Some((from, to)) = self.cleared.range(begin.clone()..=end.clone()).next() {
            end = end.max(to.clone());
            let from = from.clone();
            self.cleared.remove(&from);
        }
        self.cleared.insert(begin, end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn clear(buffer: &mut WriteBuffer, begin: &'static str, end: &'static str) {
        buffer.push(Mutation::ClearRange { begin: bytes(begin), end: bytes(end) }, None).unwrap();
    }

    #[test]
    fn cleared_ranges_that_touch_become_one() {
        let mut buffer = WriteBuffer::default();
        clear(&mut buffer, "b", "d");
        clear(&mut buffer, "f", "h");
        clear(&mut buffer, "j", "l");
        clear(&mut buffer, "d", "g");
        assert_eq!(buffer.cleared, [(bytes("b"), bytes("h")), (bytes("j"), bytes("l"))].into());
        clear(&mut buffer, "a", "z");
        assert_eq!(buffer.cleared, [(bytes("a"), bytes("z"))].into());
        clear(&mut buffer, "c", "e");
        assert_eq!(buffer.cleared, [(bytes("a"), bytes("z"))].into());
        assert!(buffer.is_cleared(b"a") && !buffer.is_cleared(b"z") && !buffer.is_cleared(b"A"));
    }

    #[test]
    fn an_add_after_a_clear_starts_from_nothing() {
        let mut buffer = WriteBuffer::default();
        buffer.push(Mutation::Add { key: bytes("k"), operand: bytes("\x05") }, None).unwrap();
        assert_eq!(buffer.written(b"k"), Some(Written::Added(vec![bytes("\x05")])));
        clear(&mut buffer, "a", "z");
        assert_eq!(buffer.written(b"k"), Some(Written::Value(None)));
        buffer.push(Mutation::Add { key: bytes("k"), operand: bytes("\x03") }, None).unwrap();
        assert_eq!(buffer.written(b"k"), Some(Written::Value(Some(bytes("\x03")))));
    }
}
