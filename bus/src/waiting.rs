//! Handlers that wait: one task of the worker polls them all, in slots that are used again.
//!
//! A tokio task for each would cost an allocation, a place in a list behind a lock and a second poll that only leaves
//! its waker. Here the first poll, where the request was read, has the slot's own waker already.
//! Invariant: no borrow is held while a handler runs or is dropped.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bus_proto::{Correlation, Header, PipeId};

use crate::bus::Inner;
use crate::message::Response;

/// Handlers polled before other tasks of the worker get their turn.
const POLLS_PER_TURN: usize = 64;

/// Handlers whose asker reads too slowly are looked at again after this time.
const HELD_FOR: Duration = Duration::from_millis(2);

/// A handler's work.
pub(crate) type Answer = Pin<Box<dyn Future<Output = Response>>>;
/// Whom a request came from, and its id there.
type Key = (PipeId, Correlation);

/// The handlers that wait on one worker.
#[derive(Default)]
pub(crate) struct Waiting {
    slots: RefCell<Slots>,
    ready: Arc<Ready>,
}

#[derive(Default)]
struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Seeded: correlation ids are a peer's choice.
    by_key: HashMap<Key, u32, foldhash::fast::RandomState>,
}

struct Slot {
    woken: Arc<Woken>,
    waker: Waker,
    task: Option<Task>,
}

struct Task {
    pipe: PipeId,
    request: Header,
    /// `None` while it is polled.
    answer: Option<Answer>,
}

/// The slots whose handlers want to be polled.
#[derive(Default)]
struct Ready {
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    slots: Vec<u32>,
    /// Who polls them, when it has nothing to do.
    idle: Option<Waker>,
}

/// Wakes one slot. It may outlive the handler that it was made for: the slot's next one is then polled once too often.
struct Woken {
    slot: u32,
    queued: AtomicBool,
    ready: Arc<Ready>,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.ready.push(self.slot);
        }
    }
}

impl Ready {
    fn push(&self, slot: u32) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.slots.push(slot);
        let idle = queue.idle.take();
        drop(queue);
        if let Some(idle) = idle {
            idle.wake();
        }
    }

    /// Exchanges the slots that are ready for the empty `slots`; waits until there is one.
    fn poll_take(&self, cx: &mut Context<'_>, slots: &mut Vec<u32>) -> Poll<()> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.slots.is_empty() {
            queue.idle = Some(cx.waker().clone());
            return Poll::Pending;
        }
        std::mem::swap(&mut queue.slots, slots);
        Poll::Ready(())
    }
}

impl Slots {
    /// A slot without a handler.
    fn vacant(&mut self, ready: &Arc<Ready>) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            let slot = u32::try_from(self.slots.len()).expect("fewer than 2^32 requests are in hand");
            let woken = Arc::new(Woken { slot, queued: AtomicBool::new(false), ready: Arc::clone(ready) });
            self.slots.push(Slot { waker: Waker::from(Arc::clone(&woken)), woken, task: None });
            slot
        })
    }

    fn fill(&mut self, slot: u32, task: Task) {
        // An id used twice by a careless asker: both are answered, the later one can be cancelled.
        self.by_key.insert((task.pipe, task.request.correlation), slot);
        self.slots[slot as usize].task = Some(task);
    }

    fn empty(&mut self, slot: u32) -> Option<Task> {
        let task = self.slots[slot as usize].task.take()?;
        self.free.push(slot);
        let key = (task.pipe, task.request.correlation);
        if self.by_key.get(&key) == Some(&slot) {
            self.by_key.remove(&key);
        }
        Some(task)
    }
}

impl Waiting {
    /// Handlers that wait now.
    pub(crate) fn len(&self) -> usize {
        let slots = self.slots.borrow();
        slots.slots.len() - slots.free.len()
    }

    /// Drops the handler of a request; false when it is not here, or done.
    pub(crate) fn cancel(&self, pipe: PipeId, correlation: Correlation) -> bool {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.by_key.get(&(pipe, correlation)).copied();
        let task = slot.and_then(|slot| slots.empty(slot));
        drop(slots);
        task.is_some()
    }

    /// Drops every handler of a pipe, or of all; how many there were.
    pub(crate) fn cancel_all(&self, of: Option<PipeId>) -> usize {
        let mut slots = self.slots.borrow_mut();
        let is_of = |slot: &Slot| slot.task.as_ref().is_some_and(|task| of.is_none_or(|of| task.pipe == of));
        let gone: Vec<u32> =
            (0..).zip(&slots.slots).filter(|(_, slot)| is_of(slot)).map(|(at, _)| at).collect();
        let tasks: Vec<Task> = gone.into_iter().filter_map(|slot| slots.empty(slot)).collect();
        drop(slots);
        tasks.len()
    }
}

enum Polled {
    Done(Response),
    Pending,
    /// It is dropped and never polled again; nothing is answered.
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
    /// Polls a handler where its request was read; one that has to wait keeps a slot.
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

    /// Whether the answer of a slot's handler could be queued: one event may wake more of them than a queue takes, and an
    /// answer that finds no room is lost.
    fn has_room(&self, slot: u32) -> bool {
        let slots = self.serving.waiting.slots.borrow();
        let Some(task) = &slots.slots[slot as usize].task else { return true };
        self.node.borrow().socket.pipe(task.pipe).is_none_or(|pipe| pipe.out.has_room())
    }

    fn resume(&self, slot: u32) {
        let waiting = &self.serving.waiting;
        let mut slots = waiting.slots.borrow_mut();
        let place = &mut slots.slots[slot as usize];
        // Before the poll: what wakes it meanwhile has to queue it again.
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

/// Polls the handlers that are ready, for as long as the worker runs; with it ends what still waits.
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
            // Counted over batches: a handler that wakes itself is ready again at once.
            if polls == POLLS_PER_TURN {
                polls = 0;
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Handlers hold the bus that holds them.
struct End(Rc<Inner>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.serving.waiting.cancel_all(None);
    }
}
