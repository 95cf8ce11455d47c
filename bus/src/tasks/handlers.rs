//! Passes requests to the handler, and answers to the pipe that the request came by.
//!
//! A handler is polled once in the read loop. If it has to wait, it gets a slot, which a cancel or
//! the end of the pipe frees; one task of the worker polls all waiting handlers. Invariant: no
//! `RefCell` borrow is held while a handler runs or is dropped.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bus_proto::{Correlation, Envelope, HeadWriter, Header, PipeId};

use crate::message::{self, Incoming, Response};
use crate::state::inner::Inner;
use crate::state::waiting::{Answer, Task};

/// Handlers that are polled before the other tasks of the worker run.
const POLLS_PER_TURN: usize = 64;

/// Time after which handlers whose asker reads too slowly are tried again.
const HELD_FOR: Duration = Duration::from_millis(2);

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
        match handler.serve(Incoming { envelope, received, deadline, pipe }) {
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

    /// Drops all handlers of a closed pipe, whose answers could not be sent.
    pub(crate) fn cancel_all(&self, pipe: PipeId) {
        let gone = self.serving.waiting.cancel_all(Some(pipe));
        self.node.borrow_mut().counters.served_cancelled += gone as u64;
    }
}

enum Polled {
    Done(Response),
    Pending,
    /// The handler panicked. It is dropped, and no answer is sent.
    Panicked,
}

fn poll(answer: &mut Answer, waker: &Waker) -> Polled {
    let polled = catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(&mut Context::from_waker(waker))));
    match polled {
        Ok(Poll::Ready(response)) => Polled::Done(response),
        Ok(Poll::Pending) => Polled::Pending,
        Err(_) => Polled::Panicked,
    }
}

impl Inner {
    /// Polls a handler where its request was read. If it has to wait, it gets a slot.
    pub(crate) fn start(&self, pipe: PipeId, request: Header, mut answer: Answer) {
        let waiting = &self.serving.waiting;
        let mut slots = waiting.slots.borrow_mut();
        let slot = slots.vacant(&waiting.ready);
        let waker = slots.slots[slot as usize].waker.clone();
        drop(slots);
        let polled = poll(&mut answer, &waker);
        let mut slots = waiting.slots.borrow_mut();
        if let Polled::Pending = polled {
            return slots.fill(slot, Task { pipe, request, answer: Some(answer) });
        }
        slots.free.push(slot);
        drop(slots);
        if let Polled::Done(response) = polled {
            self.answer(pipe, &request, response);
        }
    }

    /// True when the answer of a slot's handler could be queued. One event may wake more handlers
    /// than the out-queue has room for, and an answer without room would be lost.
    fn has_room(&self, slot: u32) -> bool {
        let slots = self.serving.waiting.slots.borrow();
        let Some(task) = &slots.slots[slot as usize].task else { return true };
        self.node.borrow().socket.pipe(task.pipe).is_none_or(|pipe| pipe.out.has_room())
    }

    fn resume(&self, slot: u32) {
        let waiting = &self.serving.waiting;
        let mut slots = waiting.slots.borrow_mut();
        let place = &mut slots.slots[slot as usize];
        // Reset before the poll, so that a wake-up during the poll queues the slot again.
        place.woken.queued.swap(false, Ordering::AcqRel);
        let Some(mut answer) = place.task.as_mut().and_then(|task| task.answer.take()) else { return };
        let waker = place.waker.clone();
        drop(slots);
        let polled = poll(&mut answer, &waker);
        let mut slots = waiting.slots.borrow_mut();
        if let (Polled::Pending, Some(task)) = (&polled, &mut slots.slots[slot as usize].task) {
            task.answer = Some(answer);
            return;
        }
        let task = slots.empty(slot);
        drop(slots);
        if let (Polled::Done(response), Some(task)) = (polled, task) {
            self.answer(task.pipe, &task.request, response);
        }
    }
}

/// Polls ready handlers for as long as the worker runs. Handlers that still wait are dropped with
/// this task.
pub(crate) async fn run(inner: Rc<Inner>) {
    let end = End(Rc::clone(&inner));
    let (mut slots, mut held, mut polls) = (Vec::new(), Vec::new(), 0);
    loop {
        let ready = poll_fn(|cx| inner.serving.waiting.ready.poll_take(cx, &mut slots));
        if held.is_empty() {
            ready.await;
        } else {
            let _ = tokio::time::timeout(HELD_FOR, ready).await;
            slots.append(&mut held);
        }
        for slot in slots.drain(..) {
            if !inner.has_room(slot) {
                held.push(slot);
                continue;
            }
            end.0.resume(slot);
            polls += 1;
            // Counted over several batches, because a handler that wakes itself is ready again at
            // once.
            if polls == POLLS_PER_TURN {
                polls = 0;
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Drops the waiting handlers when the task ends. Handlers may hold the bus, and the bus holds the
/// handlers, so otherwise neither would be freed.
struct End(Rc<Inner>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.serving.waiting.cancel_all(None);
    }
}
