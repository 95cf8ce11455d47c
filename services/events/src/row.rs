//! The values of list rows.
//!
//! Owns distinguishing records from fingerprints. A record begins with the length of an id, which
//! is below 2^15; fingerprints begin with `0xff`, followed by 4 bytes for the type and for each
//! tag.

use bytes::Bytes;

use crate::{
    event::{NewEvent, Record, fingerprint},
    limits::COPIED_BYTES_MAX,
    query::Query,
};

const FINGERPRINTS: u8 = 0xff;

/// Bytes of a key and what a transaction stores with it, typically.
const KEY_BYTES: usize = 64;

/// The value of a row.
pub(crate) enum RowValue {
    /// The event's record.
    Record(Record),
    /// Hashes that exclude most events that do not match.
    Fingerprints(Bytes),
}

impl RowValue {
    pub(crate) fn stored(value: Bytes) -> Self {
        match value.first() {
            Some(&FINGERPRINTS) => Self::Fingerprints(value.slice(1..)),
            _ => Self::Record(Record::stored(value)),
        }
    }

    /// True when the event may match; false is certain, and for records true is certain too.
    pub(crate) fn may_match(&self, query: &Query) -> bool {
        match self {
            Self::Record(record) => query.matches(record),
            Self::Fingerprints(fingerprints) => query.may_match(fingerprints),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Record(record) => record.as_bytes().len(),
            Self::Fingerprints(_) => 0,
        }
    }
}

/// Bytes of the rows of an event, about: keys are counted as if they were of typical length.
pub(crate) fn row_bytes(event: &NewEvent) -> usize {
    let record = event.record.as_bytes().len();
    let copied = if record <= COPIED_BYTES_MAX { record } else { 0 };
    (record + KEY_BYTES) + 2 * KEY_BYTES + event.tags.len() * (copied + KEY_BYTES)
}

/// The value of rows in the lists of types.
pub(crate) fn fingerprints(event: &NewEvent) -> Vec<u8> {
    let labels = event.record.labels().flat_map(|label| fingerprint(label).to_be_bytes());
    [FINGERPRINTS].into_iter().chain(labels).collect()
}

/// The value of rows in the lists of tags.
pub(crate) fn copy_or<'a>(event: &'a NewEvent, fingerprints: &'a [u8]) -> &'a [u8] {
    match event.record.as_bytes() {
        record if record.len() <= COPIED_BYTES_MAX => record,
        _ => fingerprints,
    }
}
