//! Where a consumer begins to read the lists, so that it does not read over items that are gone.
//!
//! Rows that were removed cost a reader of the embedded store as much as rows that are there, until
//! they are compacted. A consumer that began at the first key of a list would read over every item
//! that was ever popped.
//!
//! Ready rows are only ever added behind all others, so nothing appears before the first row that
//! was seen. Rows for later are added at their time, which is not before the clock of the consumer
//! that adds them; [`MARGIN_MS`] allows for the duration of its commit, and every [`FULL_MS`] all
//! of the list is read, in case a clock was wrong by more than that.
//!
//! Owns one handle's places, and how often it looks for items whose time has come. Invariant: a
//! visible item is read at the latest after [`FULL_MS`].

use std::cell::Cell;

use crate::{layers::id::Id, limits};

/// How often a consumer that has ready items looks for items whose time has come. Each look reads
/// over the leases that were acknowledged within [`MARGIN_MS`] and, when idle, the time of a lease.
const LOOK_MS: u64 = 500;

/// How far before the first item that was due a look begins.
#[expect(clippy::cast_possible_truncation, reason = "5 s")]
const MARGIN_MS: u64 = limits::TRANSACTION_AGE_MAX.as_millis() as u64;

/// How often a look begins at the first key.
const FULL_MS: u64 = 60_000;

/// The places of one consumer.
#[derive(Debug)]
pub(super) struct Low {
    ready: Cell<Id>,
    due_ms: Cell<u64>,
    look_at_ms: Cell<u64>,
    full_at_ms: Cell<u64>,
}

impl Low {
    pub(super) fn new() -> Self {
        Self {
            ready: Cell::new(Id::FIRST),
            due_ms: Cell::new(0),
            look_at_ms: Cell::new(0),
            full_at_ms: Cell::new(0),
        }
    }

    /// Where to begin to read ready items.
    pub(super) fn ready(&self) -> Id {
        self.ready.get()
    }

    /// `first` is the first ready item, or is after all that were ever ready.
    pub(super) fn saw_ready(&self, first: Id) {
        self.ready.set(self.ready.get().max(first));
    }

    /// True when it is time to look for items whose time has come; also after a clock was set back.
    pub(super) fn looks(&self, now_ms: u64) -> bool {
        now_ms >= self.look_at_ms.get() || now_ms + LOOK_MS < self.look_at_ms.get()
    }

    /// When to look again.
    pub(super) fn look_at_ms(&self) -> u64 {
        self.look_at_ms.get()
    }

    /// The time at which a look begins.
    pub(super) fn due_ms(&self, now_ms: u64) -> u64 {
        if now_ms >= self.full_at_ms.get() { 0 } else { self.due_ms.get().saturating_sub(MARGIN_MS) }
    }

    /// A look at `now_ms` found an item of the time `first_ms` first, or none.
    pub(super) fn looked(&self, now_ms: u64, first_ms: Option<u64>) {
        if now_ms >= self.full_at_ms.get() || now_ms + FULL_MS < self.full_at_ms.get() {
            self.full_at_ms.set(now_ms + FULL_MS);
        }
        self.due_ms.set(first_ms.unwrap_or(now_ms));
        // Where one was due, there may be more.
        self.look_at_ms.set(now_ms + if first_ms.is_some() { 0 } else { LOOK_MS });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_begins_before_what_was_due_and_sometimes_at_the_first_key() {
        let (low, now) = (Low::new(), 1_000_000);
        assert!(low.looks(now) && low.due_ms(now) == 0);
        low.looked(now, None);
        assert!(!low.looks(now + LOOK_MS - 1) && low.looks(now + LOOK_MS));
        assert_eq!(low.due_ms(now + LOOK_MS), now - MARGIN_MS);
        low.looked(now + LOOK_MS, Some(now + 7));
        assert!(low.looks(now + LOOK_MS));
        assert_eq!(low.due_ms(now + LOOK_MS), now + 7 - MARGIN_MS);
        assert_eq!(low.due_ms(now + FULL_MS), 0);
        low.looked(now + FULL_MS, None);
        assert_eq!(low.due_ms(now + FULL_MS), now + FULL_MS - MARGIN_MS);
        // The clock is set back by an hour.
        let back = now - 3_600_000_u64.min(now);
        assert!(low.looks(back));
        low.looked(back, None);
        assert!(!low.looks(back) && low.looks(back + LOOK_MS));
    }

    #[test]
    fn the_place_of_ready_items_only_moves_forward() {
        let low = Low::new();
        low.saw_ready(Id::newest_at(5));
        low.saw_ready(Id::newest_at(3));
        assert_eq!(low.ready(), Id::newest_at(5));
    }
}
