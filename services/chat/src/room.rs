//! A conversation that is polled on this worker.
//!
//! Owns the newest change, the waker that all polls of the room share, and the answer that they
//! share. `hub` finds rooms and learns of changes. Invariant: a poll registers its waker before it
//! looks for changes, so no change is missed.

use std::cell::{Cell, RefCell};

use bytes::Bytes;
use store::Position;
use tokio::sync::{Mutex, Notify};

use crate::cursor::Cursor;

/// One conversation.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) chat: String,
    /// Newest change that this worker knows; `None` until it was read.
    last: Cell<Option<Position>>,
    /// Counts changes, including typing and presence.
    epoch: Cell<u64>,
    /// Polls in the room.
    seats: Cell<usize>,
    pub(crate) changed: Notify,
    /// Held while an answer is built, so that other polls find it built.
    pub(crate) turn: Mutex<()>,
    answer: RefCell<Option<Answer>>,
}

/// The last answer. Most polls of a room have the same cursor.
#[derive(Debug)]
struct Answer {
    epoch: u64,
    after: Cursor,
    body: Bytes,
}

impl Room {
    pub(crate) fn new(chat: &str) -> Self {
        Self {
            chat: chat.to_owned(),
            last: Cell::new(None),
            epoch: Cell::new(0),
            seats: Cell::new(0),
            changed: Notify::new(),
            turn: Mutex::new(()),
            answer: RefCell::new(None),
        }
    }

    pub(crate) fn last(&self) -> Option<Position> {
        self.last.get()
    }

    /// Records a change at `position`. True when the change was not known.
    pub(crate) fn learn(&self, position: Position) -> bool {
        let before = self.last.get();
        if before.is_some_and(|before| position <= before) {
            return false;
        }
        self.last.set(Some(position));
        self.stir();
        before.is_some()
    }

    /// Records that something in the room changed.
    pub(crate) fn stir(&self) {
        self.epoch.set(self.epoch.get() + 1);
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.get()
    }

    /// The body that was built for `after` in this epoch.
    pub(crate) fn answer(&self, after: Cursor) -> Option<Bytes> {
        let answer = self.answer.borrow();
        let fits = |answer: &&Answer| answer.epoch == self.epoch.get() && answer.after == after;
        answer.as_ref().filter(fits).map(|answer| answer.body.clone())
    }

    pub(crate) fn keep_answer(&self, epoch: u64, after: Cursor, body: Bytes) {
        *self.answer.borrow_mut() = Some(Answer { epoch, after, body });
    }

    pub(crate) fn seats(&self) -> usize {
        self.seats.get()
    }

    pub(crate) fn sit(&self) {
        self.seats.set(self.seats.get() + 1);
    }

    /// True when the last poll has left.
    pub(crate) fn leave(&self) -> bool {
        self.seats.set(self.seats.get() - 1);
        self.seats.get() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_holds_for_its_epoch_and_cursor() {
        let room = Room::new("c");
        let (first, second) = (Position::newest_at(1), Position::newest_at(2));
        let after = |position| Cursor { position, state: 0 };
        assert!(!room.learn(first), "the first reading wakes nobody");
        assert!(room.learn(second) && !room.learn(second) && !room.learn(first));
        room.keep_answer(room.epoch(), after(first), Bytes::from_static(b"x"));
        assert!(room.answer(after(first)).is_some() && room.answer(after(second)).is_none());
        room.stir();
        assert!(room.answer(after(first)).is_none());
    }
}
