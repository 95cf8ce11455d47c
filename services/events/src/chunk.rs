//! Several events of one commit in one row of a list.
//!
//! Owns the form of such rows. `keys` names them, `row` says what an entry is, `walk` reads them.
//!
//! A row's key ends with the position of its first event. Its value is one entry for each event:
//! the index in the commit (u16), the length (u32, both big-endian), and that many bytes. A server
//! pays for rows rather than for bytes, so appends that share a commit share rows.
//!
//! Invariant: all events of a row have one value of `index / CHUNK_EVENTS`. So the row of a
//! position begins at or after that position's [`EventPosition::chunk`].

use bytes::{Buf, Bytes};

use crate::{
    limits::{CHUNK_EVENTS, ROW_BYTES_MAX},
    position::EventPosition,
};

const HEAD: usize = size_of::<u16>() + size_of::<u32>();

/// A row to write: the index of its first event, and its value.
pub(crate) type NewRow = (u16, Vec<u8>);

/// The entries of a row, in the order of their positions.
pub(crate) struct Entries {
    first: EventPosition,
    rest: Bytes,
}

/// The rows of one list in one commit; `entries` are in the order of their indexes.
pub(crate) fn rows<'a>(entries: impl IntoIterator<Item = (u16, &'a [u8])>) -> Vec<NewRow> {
    let mut rows = Vec::<NewRow>::new();
    for (index, bytes) in entries {
        let fits = |(first, value): &NewRow| {
            first / CHUNK_EVENTS == index / CHUNK_EVENTS && value.len() + HEAD + bytes.len() <= ROW_BYTES_MAX
        };
        if !rows.last().is_some_and(fits) {
            rows.push((index, Vec::with_capacity(HEAD + bytes.len())));
        }
        let (_, value) = rows.last_mut().expect("a row was added when there was none");
        value.extend_from_slice(&index.to_be_bytes());
        let len = u32::try_from(bytes.len()).expect("an entry fits into a value of the store");
        value.extend_from_slice(&len.to_be_bytes());
        value.extend_from_slice(bytes);
    }
    rows
}

impl Entries {
    /// The entries of a stored row.
    pub(crate) fn stored(row: store::KeyValue) -> Self {
        Self { first: EventPosition::at_end_of(&row.key), rest: row.value }
    }

    /// No entries.
    pub(crate) fn none() -> Self {
        Self { first: EventPosition::START, rest: Bytes::new() }
    }
}

impl Iterator for Entries {
    type Item = (EventPosition, Bytes);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let index = self.rest.get_u16();
        let len = usize::try_from(self.rest.get_u32()).expect("a length was a usize when it was stored");
        Some((self.first.with_index(index), self.rest.split_to(len)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_give_back_their_entries_and_keep_to_chunks(
            lens in proptest::collection::btree_map(0u16..1_000, 0usize..3_000, 1..60),
        ) {
            let entries: Vec<(u16, Vec<u8>)> = lens.into_iter().map(|(index, len)| (index, vec![7; len])).collect();
            let rows = rows(entries.iter().map(|(index, bytes)| (*index, &bytes[..])));
            let mut found = Vec::new();
            for (first, value) in rows {
                let at = EventPosition::new([1; 10], first);
                let row = store::KeyValue { key: Bytes::copy_from_slice(at.as_bytes()), value: value.into() };
                for (position, bytes) in Entries::stored(row) {
                    prop_assert!(at >= position.chunk() && position >= at);
                    found.push((position, bytes.to_vec()));
                }
            }
            let expected: Vec<_> =
                entries.into_iter().map(|(index, bytes)| (EventPosition::new([1; 10], index), bytes)).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn small_entries_share_a_row_and_long_ones_do_not() {
        let small = [3u8; 100];
        assert_eq!(rows((0..30).map(|index| (index, &small[..]))).len(), 1);
        let long = vec![3u8; ROW_BYTES_MAX + 1];
        assert_eq!(rows((0..3).map(|index| (index, &long[..]))).len(), 3);
    }
}
