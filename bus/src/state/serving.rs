//! The answering side's data: the handler, the clock that it is given, and the handlers that wait.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use crate::message::Serve;
use crate::state::finishing::Finishing;
use crate::state::waiting::Waiting;

/// Requests between two looks at the clock.
const LOOK_EVERY: u32 = 16;

/// The handler, and what it has not answered yet.
#[derive(Default)]
pub(crate) struct Serving {
    pub(crate) handler: RefCell<Option<Rc<dyn Serve>>>,
    clock: Cell<Option<Instant>>,
    looks: Cell<u32>,
    pub(crate) waiting: Waiting,
    pub(crate) finishing: Rc<Finishing>,
}

impl Serving {
    pub(crate) fn set_handler(&self, handler: Rc<dyn Serve>) {
        *self.handler.borrow_mut() = Some(handler);
    }

    /// The time, to within some requests: a batch whose handlers are slow may outlast the patience
    /// for its last ones.
    pub(crate) fn now(&self, received: Instant) -> Instant {
        let looks = self.looks.get().wrapping_add(1);
        self.looks.set(looks);
        let mut now = self.clock.get().unwrap_or(received).max(received);
        if looks.is_multiple_of(LOOK_EVERY) {
            now = Instant::now();
        }
        self.clock.set(Some(now));
        now
    }

    /// Requests whose handlers wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}
