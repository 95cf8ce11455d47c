//! The answering side: requests to the handler, answers down the pipe they came by.
//!
//! A handler is polled once in the read loop; only one that has to wait keeps a place (`waiting`), which a cancel, or
//! the end of the pipe, takes from it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use bus_proto::{Correlation, Envelope, HeadWriter, Header, PipeId};

use crate::bus::Inner;
use crate::message::{self, Incoming, Response, Serve};
use crate::waiting::Waiting;

/// Requests between two looks at the clock.
const LOOK_EVERY: u32 = 16;

/// The handler, and what it has not answered yet.
#[derive(Default)]
pub(crate) struct Serving {
    handler: RefCell<Option<Rc<dyn Serve>>>,
    clock: Cell<Option<Instant>>,
    looks: Cell<u32>,
    pub(crate) waiting: Waiting,
}

impl Serving {
    pub(crate) fn set_handler(&self, handler: Rc<dyn Serve>) {
        *self.handler.borrow_mut() = Some(handler);
    }

    /// The time, to within some requests: a batch whose handlers are slow may outlast the patience for its last ones.
    fn now(&self, received: Instant) -> Instant {
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

impl Inner {
    pub(crate) fn serve(
        &self,
        received: Instant,
        pipe: PipeId,
        envelope: Envelope,
        deadline: Option<Instant>,
    ) {
        let handler = self.serving.handler.borrow().clone();
        let Some(handler) = handler else {
            self.node.borrow_mut().counters.rejected_unserved += 1;
            return;
        };
        if deadline.is_some_and(|deadline| self.serving.now(received) >= deadline) {
            self.node.borrow_mut().counters.served_expired += 1;
            return;
        }
        self.node.borrow_mut().counters.served += 1;
        let header = envelope.header();
        match handler.serve(Incoming { envelope, received, deadline }) {
            message::Serving::Now(response) => self.answer(pipe, &header, response),
            message::Serving::Later(answer) => self.start(pipe, header, answer),
        }
    }

    pub(crate) fn answer(&self, pipe: PipeId, request: &Header, response: Response) {
        let Response { status, fields, body } = response;
        let head = |head: &mut HeadWriter<'_>| {
            for (name, value) in &fields {
                head.field(name.as_bytes(), value);
            }
        };
        let node = &mut *self.node.borrow_mut();
        node.reply(pipe, request, status, head, body);
        self.flush_due(node);
    }

    pub(crate) fn cancel_serving(&self, pipe: PipeId, correlation: Correlation) {
        if self.serving.waiting.cancel(pipe, correlation) {
            self.node.borrow_mut().counters.served_cancelled += 1;
        }
    }

    /// The asker's pipe is gone: nobody waits for these answers.
    pub(crate) fn cancel_all(&self, pipe: PipeId) {
        let gone = self.serving.waiting.cancel_all(Some(pipe));
        self.node.borrow_mut().counters.served_cancelled += gone as u64;
    }
}
