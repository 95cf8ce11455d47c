//! The keys of a queue, under its subspace.
//!
//! | key | value |
//! | --- | --- |
//! | `(0, id)` | the body of an item |
//! | `(1, id)` | a ready item, never leased: its state |
//! | `(2, time, id)` | an item for later, visible at `time` in milliseconds: its state |
//! | `(3, id)` | a dead letter: time of death, attempts, reason |
//! | `(4, n)` | lengths: 0 ready, 1 later, 2 dead; 8 bytes, little-endian |
//! | `(5)` | changes whenever an item may be visible earlier than before |
//!
//! A state is 9 bytes: the number of leases so far and how many of them are forgiven, each 4 bytes
//! and little-endian, and 1 while leased. Bodies have rows of their own, so that a lease costs the
//! same for small and large bodies.
//!
//! Invariant: keys of the first four lists end with the id.

use crate::{
    layers::id::Id,
    range::Range,
    tuple::{Subspace, Versionstamp},
};

/// Which of an item's lists a length belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    Ready = 0,
    Later = 1,
    Dead = 2,
}

/// Builds keys.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    bodies: Subspace,
    ready: Subspace,
    later: Subspace,
    dead: Subspace,
    lengths: [Vec<u8>; 3],
    pub(super) changes: Vec<u8>,
}

impl Keys {
    pub(super) fn under(all: &Subspace) -> Self {
        let part = |number: i64| all.subspace(&(number,));
        Self {
            bodies: part(0),
            ready: part(1),
            later: part(2),
            dead: part(3),
            lengths: [List::Ready, List::Later, List::Dead].map(|list| all.pack(&(4, list as i64))),
            changes: all.pack(&(5,)),
        }
    }

    pub(super) fn body(&self, id: Id) -> Vec<u8> {
        self.bodies.pack(&(id.stamp(),))
    }

    pub(super) fn new_body(&self, stamp: &Versionstamp) -> Vec<u8> {
        self.bodies.pack_with_versionstamp(&(stamp,))
    }

    pub(super) fn new_ready(&self, stamp: &Versionstamp) -> Vec<u8> {
        self.ready.pack_with_versionstamp(&(stamp,))
    }

    pub(super) fn later(&self, at_ms: u64, id: Id) -> Vec<u8> {
        self.later.pack(&(at_ms, id.stamp()))
    }

    pub(super) fn new_later(&self, at_ms: u64, stamp: &Versionstamp) -> Vec<u8> {
        self.later.pack_with_versionstamp(&(at_ms, stamp))
    }

    pub(super) fn dead(&self, id: Id) -> Vec<u8> {
        self.dead.pack(&(id.stamp(),))
    }

    pub(super) fn length(&self, list: List) -> &[u8] {
        &self.lengths[list as usize]
    }

    /// Ready items from `first` on, the oldest first.
    pub(super) fn ready_from(&self, first: Id) -> Range {
        Range::between(self.ready.pack(&(first.stamp(),)), self.ready.range().1)
    }

    /// Items for later whose time is between `first_ms` and `now_ms`, both included.
    pub(super) fn due(&self, first_ms: u64, now_ms: u64) -> Range {
        Range::between(self.later.pack(&(first_ms,)), self.later.pack(&(now_ms.saturating_add(1),)))
    }

    /// Items for later whose time is after `now_ms`, the next one first.
    pub(super) fn later_after(&self, now_ms: u64) -> Range {
        Range::between(self.later.pack(&(now_ms.saturating_add(1),)), self.later.range().1)
    }

    /// Dead letters after `after`, in the order in which the items were pushed.
    pub(super) fn dead_after(&self, after: Option<Id>) -> Range {
        let all = Range::subspace(&self.dead);
        match after {
            Some(id) => all.after(self.dead(id)),
            None => all,
        }
    }

    /// The time in a key of the list of items for later; `None` for another key.
    pub(super) fn time_of(&self, key: &[u8]) -> Option<u64> {
        self.later.unpack::<(u64, Versionstamp)>(key).ok().map(|(at_ms, _)| at_ms)
    }
}

/// The value of a row of the lists of ready items and of items for later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    /// Leases so far.
    pub(super) attempts: u32,
    /// Those that do not count as failures.
    pub(super) forgiven: u32,
    /// True while a consumer has the item.
    pub(super) is_leased: bool,
}

impl State {
    /// Never leased.
    pub(super) const NEW: Self = Self { attempts: 0, forgiven: 0, is_leased: false };

    /// The state in a row. An unreadable one counts as new: at worst the item is tried more often.
    pub(super) fn parse(value: &[u8]) -> Self {
        let (numbers, _) = value.as_chunks::<4>();
        let number = |at: usize| numbers.get(at).map_or(0, |bytes| u32::from_le_bytes(*bytes));
        Self { attempts: number(0), forgiven: number(1), is_leased: value.get(8) == Some(&1) }
    }

    pub(super) fn to_bytes(self) -> [u8; 9] {
        let mut bytes = [0; 9];
        bytes[..4].copy_from_slice(&self.attempts.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.forgiven.to_le_bytes());
        bytes[8] = u8::from(self.is_leased);
        bytes
    }

    /// Attempts that count.
    pub(super) fn failures(self) -> u32 {
        self.attempts.saturating_sub(self.forgiven)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_back_and_a_damaged_one_counts_as_new() {
        let state = State { attempts: 7, forgiven: 2, is_leased: true };
        assert_eq!((State::parse(&state.to_bytes()), state.failures()), (state, 5));
        assert_eq!((State::parse(b""), State::parse(b"\x01")), (State::NEW, State::NEW));
    }

    #[test]
    fn lists_of_a_queue_do_not_meet_and_end_with_the_id() {
        let keys = Keys::under(&Subspace::from("q"));
        let id = Id::newest_at(5);
        let later = keys.later(300, id);
        assert_eq!((Id::of_key(&later), keys.time_of(&later)), (Some(id), Some(300)));
        let ready = keys.ready_from(id);
        assert_eq!((Id::of_key(&ready.begin.key), keys.time_of(&ready.begin.key)), (Some(id), None));
        let inside = |range: &Range, key: &[u8]| &range.begin.key[..] <= key && key < &range.end.key[..];
        assert!(inside(&keys.due(300, 300), &later) && inside(&keys.due(0, u64::MAX), &later));
        assert!(!inside(&keys.due(0, 299), &later) && !inside(&keys.due(301, 400), &later));
        assert!(inside(&keys.later_after(299), &later) && !inside(&keys.later_after(300), &later));
        assert!(inside(&keys.ready_from(Id::FIRST), &ready.begin.key));
        assert!(!inside(&keys.ready_from(Id::FIRST), &keys.body(id)));
        assert!(inside(&keys.dead_after(None), &keys.dead(id)));
        assert!(!inside(&keys.due(0, u64::MAX), keys.length(List::Dead)));
    }
}
