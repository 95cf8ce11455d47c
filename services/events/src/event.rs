//! An event as received and as stored.
//!
//! Owns the rules for events, and the record: the one value that holds all of an event except its
//! position. Keys are in `keys`, queries in `query`.
//!
//! A record is three lengths (u16, big-endian, of the JSON texts of id, type and tags), followed by
//! the rest of the JSON object that answers contain: `"id":..,"type":..,"tags":[..],"data":..}`.
//! Answers copy a record, and queries compare slices of it, without parsing.

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    invalid::{Invalid, check_label, check_labels, check_name},
    limits::{DATA_BYTES_MAX, ID_BYTES_MAX, TAG_BYTES_MAX, TAGS_MAX, TYPE_BYTES_MAX},
};

const LENGTHS: usize = 6;
const BEFORE_ID: usize = LENGTHS + r#""id":"#.len();
const BEFORE_TYPE: usize = r#","type":"#.len();
const BEFORE_TAGS: usize = r#","tags":"#.len();

/// A checked event to append.
#[derive(Clone, Debug)]
pub struct NewEvent {
    pub(crate) id: String,
    pub(crate) event_type: String,
    pub(crate) tags: Vec<String>,
    pub(crate) record: Record,
}

/// An event as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record(Bytes);

impl NewEvent {
    /// Checks an event; `data` is JSON text, stored unchanged.
    ///
    /// # Errors
    /// [`Invalid`] with the field within the event.
    pub fn new(id: String, event_type: String, tags: Vec<String>, data: &str) -> Result<Self, Invalid> {
        check_name("id", &id, ID_BYTES_MAX)?;
        check_label("type", &event_type, TYPE_BYTES_MAX)?;
        check_labels("tags", &tags, TAGS_MAX, TAG_BYTES_MAX)?;
        if data.len() > DATA_BYTES_MAX {
            return Err(Invalid::over("data", "bytes", DATA_BYTES_MAX, data.len()));
        }
        let record = Record::new(&id, &event_type, &tags, data);
        Ok(Self { id, event_type, tags, record })
    }
}

impl Record {
    fn new(id: &str, event_type: &str, tags: &[String], data: &str) -> Self {
        let labels = tags.iter().map(|tag| tag.len() + 3).sum::<usize>();
        let mut out = Vec::with_capacity(64 + id.len() + event_type.len() + labels + data.len());
        out.extend([0; LENGTHS]);
        let mut lengths = [0; 3];
        let json = |out: &mut Vec<u8>, value: &dyn Fn(&mut Vec<u8>) -> serde_json::Result<()>| {
            let before = out.len();
            value(out).expect("strings are always JSON, and memory takes every write");
            u16::try_from(out.len() - before).expect("limits of names keep lengths below 2^16")
        };
        out.extend_from_slice(br#""id":"#);
        lengths[0] = json(&mut out, &|out| serde_json::to_writer(out, id));
        out.extend_from_slice(br#","type":"#);
        lengths[1] = json(&mut out, &|out| serde_json::to_writer(out, event_type));
        out.extend_from_slice(br#","tags":"#);
        lengths[2] = json(&mut out, &|out| serde_json::to_writer(out, tags));
        out.extend_from_slice(br#","data":"#);
        out.extend_from_slice(data.as_bytes());
        out.push(b'}');
        for (at, len) in lengths.iter().enumerate() {
            out[2 * at..2 * at + 2].copy_from_slice(&len.to_be_bytes());
        }
        Self(out.into())
    }

    /// The record in a value of the log.
    pub(crate) fn stored(value: Bytes) -> Self {
        Self(value)
    }

    /// The whole record.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The rest of the JSON object that begins with `{"position":"..",`.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.0[LENGTHS..]
    }

    /// The id as JSON text, with its quotes.
    #[must_use]
    pub fn id_json(&self) -> &[u8] {
        &self.0[BEFORE_ID..][..self.len(0)]
    }

    /// The type as JSON text, with its quotes.
    #[must_use]
    pub fn type_json(&self) -> &[u8] {
        &self.0[BEFORE_ID + self.len(0) + BEFORE_TYPE..][..self.len(1)]
    }

    /// Each tag as JSON text, with its quotes.
    pub fn tags_json(&self) -> impl Iterator<Item = &[u8]> {
        let begin = BEFORE_ID + self.len(0) + BEFORE_TYPE + self.len(1) + BEFORE_TAGS;
        strings(&self.0[begin..][..self.len(2)])
    }

    /// Type and tags as JSON texts.
    pub(crate) fn labels(&self) -> impl Iterator<Item = &[u8]> {
        [self.type_json()].into_iter().chain(self.tags_json())
    }

    fn len(&self, at: usize) -> usize {
        usize::from(u16::from_be_bytes([self.0[2 * at], self.0[2 * at + 1]]))
    }
}

/// A type or tag, given as JSON text, in 4 bytes: enough to skip most rows of an index, never
/// enough to accept one.
pub(crate) fn fingerprint(label_json: &[u8]) -> u32 {
    let [a, b, c, d, ..] = xxh3_64(label_json).to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// The strings of a JSON array written by serde_json, each with its quotes.
fn strings(array: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = array;
    std::iter::from_fn(move || {
        let begin = rest.iter().position(|&byte| byte == b'"')?;
        let mut end = begin + 1;
        while *rest.get(end)? != b'"' {
            end += if rest[end] == b'\\' { 2 } else { 1 };
        }
        let (string, behind) = rest[begin..].split_at_checked(end + 1 - begin)?;
        rest = behind;
        Some(string)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_record_gives_back_what_it_was_made_of(
            id in "[^\\p{Cc}]{1,20}",
            event_type in "[^\\p{Cc},]{1,20}",
            tags in proptest::collection::btree_set("[^\\p{Cc},]{1,20}", 0..8),
        ) {
            let tags: Vec<String> = tags.into_iter().collect();
            let event = NewEvent::new(id.clone(), event_type.clone(), tags.clone(), "{\"a\" :1}").unwrap();
            let read = |json: &[u8]| serde_json::from_slice::<String>(json).unwrap();
            let record = Record::stored(Bytes::copy_from_slice(event.record.as_bytes()));
            prop_assert_eq!(read(record.id_json()), id.clone());
            prop_assert_eq!(read(record.type_json()), event_type.clone());
            prop_assert_eq!(record.tags_json().map(read).collect::<Vec<_>>(), tags.clone());
            let text = format!("{{\"position\":\"\",{}", std::str::from_utf8(record.text()).unwrap());
            let expected = serde_json::json!(
                {"position": "", "id": id, "type": event_type, "tags": tags, "data": {"a": 1}}
            );
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_no_event_is_refused_with_field_and_limit() {
        let new = |id: &str, event_type: &str, tags: &[&str], data: &str| {
            let tags = tags.iter().map(|&tag| tag.to_owned()).collect();
            let invalid = NewEvent::new(id.to_owned(), event_type.to_owned(), tags, data).unwrap_err();
            (invalid.field, invalid.limit)
        };
        let long = "x".repeat(129);
        let tags: Vec<String> = (0..17).map(|n| n.to_string()).collect();
        let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
        assert_eq!(new("", "T", &[], "1"), ("id".into(), Some(128)));
        assert_eq!(new(&long, "T", &[], "1"), ("id".into(), Some(128)));
        assert_eq!(new("1", "a\u{7}", &[], "1"), ("type".into(), None));
        assert_eq!(new("1", "a,b", &[], "1"), ("type".into(), None));
        assert_eq!(new("1", "T", &tags, "1"), ("tags".into(), Some(16)));
        assert_eq!(new("1", "T", &["a", &long], "1"), ("tags[1]".into(), Some(128)));
        assert_eq!(new("1", "T", &["a", "b", "a"], "1"), ("tags[2]".into(), None));
        assert_eq!(new("1", "T", &[], &"1".repeat(65_537)), ("data".into(), Some(65_536)));
    }
}
