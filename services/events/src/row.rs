//! What rows of lists hold beside the position in their keys.
//!
//! Owns: telling records from fingerprints. A record begins with the length of an id, which is below 2^15; fingerprints
//! begin with `0xff`, and then have 4 bytes for the type and for each tag.

use bytes::Bytes;

use crate::{
    event::{NewEvent, Record, fingerprint},
    limits::COPIED_BYTES_MAX,
    query::Query,
};

const FINGERPRINTS: u8 = 0xff;

/// The value of a row.
pub(crate) enum RowValue {
    /// The event itself.
    Record(Record),
    /// What tells most events that do not match.
    Fingerprints(Bytes),
}

impl RowValue {
    pub(crate) fn stored(value: Bytes) -> Self {
        match value.first() {
            Some(&FINGERPRINTS) => Self::Fingerprints(value.slice(1..)),
            _ => Self::Record(Record::stored(value)),
        }
    }

    /// Whether the event may match: false is certain, and true is for records.
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

/// What rows of the types' lists hold.
pub(crate) fn fingerprints(event: &NewEvent) -> Vec<u8> {
    let labels = event.record.labels().flat_map(|label| fingerprint(label).to_be_bytes());
    [FINGERPRINTS].into_iter().chain(labels).collect()
}

/// What rows of the tags' lists hold.
pub(crate) fn copy_or<'a>(event: &'a NewEvent, fingerprints: &'a [u8]) -> &'a [u8] {
    match event.record.as_bytes() {
        record if record.len() <= COPIED_BYTES_MAX => record,
        _ => fingerprints,
    }
}
