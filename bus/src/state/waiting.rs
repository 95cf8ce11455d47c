//! The slots of waiting handlers, and the list of the slots whose handlers have been woken.
//!
//! A tokio task for each handler would cost an allocation, an entry in a locked list, and a second
//! poll that only stores a waker. A slot is reused, and its waker exists before the first poll.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use bus_proto::{Correlation, Header, PipeId};

use crate::message::Response;

/// The future of a handler.
pub(crate) type Answer = Pin<Box<dyn Future<Output = Response>>>;
/// The pipe that a request came by, and its correlation id.
type Key = (PipeId, Correlation);

/// The waiting handlers of one worker.
#[derive(Default)]
pub(crate) struct Waiting {
    pub(crate) slots: RefCell<Slots>,
    pub(crate) ready: Arc<Ready>,
}

#[derive(Default)]
pub(crate) struct Slots {
    pub(crate) slots: Vec<Slot>,
    pub(crate) free: Vec<u32>,
    /// The hash is seeded, because peers choose the correlation ids.
    by_key: HashMap<Key, u32, foldhash::fast::RandomState>,
}

pub(crate) struct Slot {
    pub(crate) woken: Arc<Woken>,
    pub(crate) waker: Waker,
    pub(crate) task: Option<Task>,
}

pub(crate) struct Task {
    pub(crate) pipe: PipeId,
    pub(crate) request: Header,
    /// `None` while the future is being polled.
    pub(crate) answer: Option<Answer>,
}

/// The slots whose handlers are ready to be polled.
#[derive(Default)]
pub(crate) struct Ready {
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    slots: Vec<u32>,
    /// Wakes the polling task while no slot is ready.
    idle: Option<Waker>,
}

/// Wakes one slot. It may outlive the handler that it was made for; the slot's next handler is then
/// polled once more than necessary.
pub(crate) struct Woken {
    slot: u32,
    pub(crate) queued: AtomicBool,
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

    /// Swaps the list of ready slots with the empty list `slots`. Pending while no slot is ready.
    pub(crate) fn poll_take(&self, cx: &mut Context<'_>, slots: &mut Vec<u32>) -> Poll<()> {
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
    /// Returns a slot without a handler.
    pub(crate) fn vacant(&mut self, ready: &Arc<Ready>) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            let slot = u32::try_from(self.slots.len()).expect("fewer than 2^32 requests are in hand");
            let woken = Arc::new(Woken { slot, queued: AtomicBool::new(false), ready: Arc::clone(ready) });
            self.slots.push(Slot { waker: Waker::from(Arc::clone(&woken)), woken, task: None });
            slot
        })
    }

    pub(crate) fn fill(&mut self, slot: u32, task: Task) {
        // If an asker uses an id twice, both requests are answered, and only the later one can be
        // cancelled.
        self.by_key.insert((task.pipe, task.request.correlation), slot);
        self.slots[slot as usize].task = Some(task);
    }

    pub(crate) fn empty(&mut self, slot: u32) -> Option<Task> {
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
    /// Number of waiting handlers.
    pub(crate) fn len(&self) -> usize {
        let slots = self.slots.borrow();
        slots.slots.len() - slots.free.len()
    }

    /// Drops the handler of a request. False when there is none or it has completed.
    pub(crate) fn cancel(&self, pipe: PipeId, correlation: Correlation) -> bool {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.by_key.get(&(pipe, correlation)).copied();
        let task = slot.and_then(|slot| slots.empty(slot));
        drop(slots);
        task.is_some()
    }

    /// Drops every handler of a pipe, or of all pipes. Returns their number.
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
