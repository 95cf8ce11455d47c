//! A conversation in which somebody polls on this worker.
//!
//! Owns: its newest change, the one waker that all its polls share, and the answer that they share. Does not own: finding
//! rooms and hearing of changes (`hub`). Invariant: who waits registered before it looked, so no change is slept over.

use std::cell::{Cell, RefCell};

use bytes::Bytes;
use store::Position;
use tokio::sync::{Mutex, Notify};

use crate::cursor::Cursor;

/// One conversation.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) chat: String,
    /// Its newest change that this worker heard of; `None` = not read yet.
    last: Cell<Option<Position>>,
    /// Counts what was heard: changes, and typing and presence.
    epoch: Cell<u64>,
    /// Polls inside.
    seats: Cell<usize>,
    pub(crate) changed: Notify,
    /// Held while an answer is made: the others then find it made.
    pub(crate) turn: Mutex<()>,
    answer: RefCell<Option<Answer>>,
}

/// What was answered last: most polls of a room have the same cursor.
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

    /// A change at `position` was heard of. True when it is news to those who wait.
    pub(crate) fn learn(&self, position: Position) -> bool {
        let before = self.last.get();
        if before.is_some_and(|before| position <= before) {
            return false;
        }
        self.last.set(Some(position));
        self.stir();
        before.is_some()
    }

    /// Something of it is another than it was.
    pub(crate) fn stir(&self) {
        self.epoch.set(self.epoch.get() + 1);
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.get()
    }

    /// The body that was made for `after` in this epoch.
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

    /// True when the last one has left.
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
