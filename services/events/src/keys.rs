//! The keys of the service.
//!
//! | key | value |
//! | --- | --- |
//! | `("events", 0, position)` | the log: records |
//! | `("events", 1, id)` | the position of the event with this id |
//! | `("events", 2, type, position)` | fingerprints of the events' types and tags |
//! | `("events", 3, tag, position)` | copies of short records, or fingerprints |
//! | `("events", 4, head)` | the position of an append, for watches |
//! | `("events", 5, name)` | a projection: position and state |
//! | `("events", 6, prefix)` | the positions of events by id: a bucket, as `ids` says |
//! | `("events", 7)` | exists when there are buckets |
//!
//! A row of a list (0, 2, 3) holds one or more events of one commit, as `chunk` says, and its key
//! ends with the position of the last. Appends of one commit share rows.
//!
//! All keys are tuples with versionstamps as positions, so FoundationDB's own tools can read them.
//!
//! Invariant: every key of a list (0, 2, 3) ends with the position.

use store::{KeySelector, Range, Subspace, Versionstamp};

use crate::{
    limits::HEADS,
    position::{EventPosition, POSITION_BYTES},
};

/// Builds keys.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    log: Subspace,
    ids: Subspace,
    types: Subspace,
    tags: Subspace,
    heads: Subspace,
    projections: Subspace,
    buckets: Subspace,
    buckets_used: Subspace,
}

/// Events in the order of their positions: the log, or an index of one type or tag.
#[derive(Clone, Debug)]
pub(crate) struct List(Subspace);

impl Keys {
    /// The service's keys.
    pub(crate) fn new() -> Self {
        Self::under(&Subspace::from("events"))
    }

    /// Keys of the same form under another prefix.
    pub(crate) fn under(all: &Subspace) -> Self {
        let part = |number: i64| all.subspace(&(number,));
        Self {
            log: part(0),
            ids: part(1),
            types: part(2),
            tags: part(3),
            heads: part(4),
            projections: part(5),
            buckets: part(6),
            buckets_used: part(7),
        }
    }

    pub(crate) fn log(&self) -> List {
        List(self.log.clone())
    }

    pub(crate) fn of_type(&self, event_type: &str) -> List {
        List(self.types.subspace(&event_type))
    }

    pub(crate) fn of_tag(&self, tag: &str) -> List {
        List(self.tags.subspace(&tag))
    }

    pub(crate) fn id(&self, id: &str) -> Vec<u8> {
        self.ids.pack(&id)
    }

    /// The id of a key that [`Keys::id`] made.
    pub(crate) fn id_of(&self, key: &[u8]) -> String {
        self.ids.unpack(key).expect("only ids are written here")
    }

    /// The rows of the ids from `first` to `last`.
    pub(crate) fn ids_between(&self, first: &str, last: &str) -> Range {
        let begin = KeySelector::first_greater_or_equal(self.id(first));
        Range::selected(begin, KeySelector::first_greater_than(self.id(last)))
    }

    pub(crate) fn bucket(&self, prefix: &str) -> Vec<u8> {
        self.buckets.pack(&prefix)
    }

    pub(crate) fn buckets_used(&self) -> Vec<u8> {
        self.buckets_used.bytes().to_vec()
    }

    pub(crate) fn head(&self, head: u8) -> Vec<u8> {
        self.heads.pack(&i64::from(head % HEADS))
    }

    pub(crate) fn projection(&self, name: &str) -> Vec<u8> {
        self.projections.pack(&name)
    }
}

impl List {
    /// The key of a row whose last event is the `index`th of a commit, for
    /// `set_versionstamped_key`.
    pub(crate) fn stamped(&self, index: u16) -> Vec<u8> {
        self.0.pack_with_versionstamp(&Versionstamp::incomplete(index))
    }

    /// The rows that hold the events after a position; the first may hold some up to it too.
    pub(crate) fn after(&self, position: EventPosition) -> Range {
        let (begin, end) = self.0.range();
        if position == EventPosition::START {
            return Range::between(begin, end);
        }
        let begin = KeySelector::first_greater_than(self.key(position));
        let range = Range::selected(begin, KeySelector::first_greater_or_equal(end));
        match position.version().checked_sub(1) {
            // Other commits with the position's version may come after it.
            Some(before) => range.written_after(before),
            None => range,
        }
    }

    /// The rows that hold the events from `first` to `last`, which must be in the list.
    pub(crate) fn holding(&self, first: EventPosition, last: EventPosition) -> Range {
        let begin = self.key(first);
        if first == last {
            return Range::between(begin, self.0.range().1).limit(1);
        }
        let holding_last = KeySelector::first_greater_or_equal(self.key(last));
        let next = KeySelector { offset: holding_last.offset + 1, ..holding_last };
        Range::selected(KeySelector::first_greater_or_equal(begin), next)
    }

    fn key(&self, position: EventPosition) -> Vec<u8> {
        self.0.pack(&Versionstamp::from(position))
    }
}

/// The value that becomes the position of the `index`th event of a commit, for
/// `set_versionstamped_value`.
pub(crate) fn stamped_position(index: u16) -> [u8; POSITION_BYTES + 4] {
    let mut value = [0; POSITION_BYTES + 4];
    value[POSITION_BYTES - 2..POSITION_BYTES].copy_from_slice(&index.to_be_bytes());
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_different_names_do_not_meet() {
        let keys = Keys::new();
        let position = EventPosition::new([7; 10], 1);
        let range = |list: List| {
            let range = list.after(position);
            (range.begin.key, range.end.key)
        };
        let lists =
            [keys.log(), keys.of_type("a"), keys.of_type("aa"), keys.of_tag("a"), keys.of_tag("a\u{0}")];
        let mut ranges: Vec<_> = lists.into_iter().map(range).collect();
        ranges.sort();
        assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{ranges:?}");
        let key = keys.log().key(position);
        assert_eq!(EventPosition::at_end_of(&key), position);
    }
}
