//! Several events of one commit in one row of a list.
//!
//! Owns the form of such rows. `keys` names them, `row` says what an entry is, `walk` reads them.
//!
//! A row's key ends with the position of its last event. A row therefore holds events after a
//! position exactly when its key is after that position. Its value is one entry for each event: the
//! index in the commit (u16), the length (u32, both big-endian), and that many bytes. A server pays
//! for rows rather than for bytes, so appends that share a commit share rows.
//!
//! Invariant: the events of a list are in its rows in the order of their positions, each once.

use bytes::{Buf, Bytes};

use crate::{limits::ROW_BYTES_MAX, position::EventPosition};

const HEAD: usize = size_of::<u16>() + size_of::<u32>();

/// A row to write.
pub(crate) struct NewRow {
    /// Index of its last event.
    pub(crate) last: u16,
    pub(crate) value: Vec<u8>,
}

/// The entries of a row, in the order of their positions.
pub(crate) struct Entries {
    last: EventPosition,
    rest: Bytes,
}

/// The rows of one list in one commit; `entries` are in the order of their indexes.
pub(crate) fn rows<'a>(entries: impl IntoIterator<Item = (u16, &'a [u8])>) -> Vec<NewRow> {
    let mut rows = Vec::<NewRow>::new();
    for (index, bytes) in entries {
        let fits = |row: &&mut NewRow| row.value.len() + HEAD + bytes.len() <= ROW_BYTES_MAX;
        if rows.last_mut().filter(fits).is_none() {
            rows.push(NewRow { last: index, value: Vec::with_capacity(HEAD + bytes.len()) });
        }
        let row = rows.last_mut().expect("a row was added when there was none");
        row.last = index;
        row.value.extend_from_slice(&index.to_be_bytes());
        let len = u32::try_from(bytes.len()).expect("an entry fits into a value of the store");
        row.value.extend_from_slice(&len.to_be_bytes());
        row.value.extend_from_slice(bytes);
    }
    rows
}

impl Entries {
    /// The entries of a stored row.
    pub(crate) fn stored(row: store::KeyValue) -> Self {
        Self { last: EventPosition::at_end_of(&row.key), rest: row.value }
    }

    /// No entries.
    pub(crate) fn none() -> Self {
        Self { last: EventPosition::START, rest: Bytes::new() }
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
        Some((self.last.with_index(index), self.rest.split_to(len)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_give_back_their_entries_up_to_their_last(
            lens in proptest::collection::btree_map(0u16..1_000, 0usize..3_000, 1..60),
        ) {
            let entries: Vec<(u16, Vec<u8>)> = lens.into_iter().map(|(index, len)| (index, vec![7; len])).collect();
            let rows = rows(entries.iter().map(|(index, bytes)| (*index, &bytes[..])));
            let mut found = Vec::new();
            for NewRow { last, value } in rows {
                let last = EventPosition::new([1; 10], last);
                let row = store::KeyValue { key: Bytes::copy_from_slice(last.as_bytes()), value: value.into() };
                found.extend(Entries::stored(row).map(|(position, bytes)| (position, bytes.to_vec())));
                prop_assert_eq!(found.last().map(|(position, _)| *position), Some(last));
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
