//! Which connection sends when.
//!
//! Owns handing due requests to connections: in the closed loop to the connection that asks; at a
//! fixed rate to the connection that has been idle longest or, when none is idle, to the next that
//! asks. Invariant: a request keeps its due time.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::schedule::{Due, Schedule};
use super::tick::Tick;

/// Requests due within this time are sent together, because one turn of the timer costs about a
/// microsecond.
const GRAIN: Duration = Duration::from_micros(20);

/// Requests for the connections of one thread.
#[derive(Debug)]
pub(super) struct Feed {
    source: RefCell<Source>,
    /// Open loop: idle connections, longest first.
    idle: RefCell<VecDeque<(usize, Waker)>>,
    /// Open loop: due times that the timer handed to idle connections.
    assigned: RefCell<Vec<Option<Instant>>>,
    over: Cell<bool>,
    timer_task: RefCell<Option<Waker>>,
}

#[derive(Debug)]
pub(super) enum Source {
    /// As fast as the connections allow.
    Closed { left: Option<u64>, end: Option<Instant> },
    /// At a fixed rate.
    Open(Schedule),
}

impl Feed {
    pub(super) fn new(source: Source, connections: usize) -> Self {
        Self {
            source: RefCell::new(source),
            idle: RefCell::default(),
            assigned: RefCell::new(vec![None; connections]),
            over: Cell::new(false),
            timer_task: RefCell::default(),
        }
    }

    /// The due time of the connection's next request; `None` when there are no more.
    pub(super) fn poll_next(&self, connection: usize, cx: &mut Context<'_>) -> Poll<Option<Instant>> {
        if let Some(due) = self.assigned.borrow_mut()[connection].take() {
            return Poll::Ready(Some(due));
        }
        if self.over.get() {
            return Poll::Ready(None);
        }
        match self.take(Instant::now()) {
            Due::Since(due) => Poll::Ready(Some(due)),
            Due::Over => {
                self.end();
                Poll::Ready(None)
            }
            Due::At(_) => {
                self.idle.borrow_mut().push_back((connection, cx.waker().clone()));
                if let Some(timer) = self.timer_task.borrow_mut().take() {
                    timer.wake();
                }
                Poll::Pending
            }
        }
    }

    /// Hands due requests to idle connections until there are no more of either.
    pub(super) async fn run(&self, tick: &Tick) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_timer(tick, cx)).await
    }

    /// Ends the feed: no connection gets a further request.
    pub(super) fn end(&self) {
        self.over.set(true);
        for (_, waker) in self.idle.borrow_mut().drain(..) {
            waker.wake();
        }
    }

    /// Requests due before `now` that no connection took.
    pub(super) fn overdue(&self, now: Instant) -> u64 {
        match &mut *self.source.borrow_mut() {
            Source::Closed { .. } => 0,
            Source::Open(schedule) => schedule.overdue(now),
        }
    }

    fn poll_timer(&self, tick: &Tick, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let now = Instant::now();
            let wait = loop {
                if self.over.get() {
                    return Poll::Ready(Ok(()));
                }
                if self.idle.borrow().is_empty() {
                    // Every connection is busy, and asks when it is done.
                    *self.timer_task.borrow_mut() = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                match self.take(now) {
                    Due::Since(due) => {
                        let idle = self.idle.borrow_mut().pop_front();
                        let (connection, waker) = idle.expect("checked above, and nobody else ran since");
                        self.assigned.borrow_mut()[connection] = Some(due);
                        waker.wake();
                    }
                    Due::At(at) => break at.duration_since(now).max(GRAIN),
                    Due::Over => self.end(),
                }
            };
            tick.set(wait)?;
            match tick.poll(cx) {
                Poll::Ready(rung) => rung?,
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn take(&self, now: Instant) -> Due {
        match &mut *self.source.borrow_mut() {
            Source::Closed { end: Some(end), .. } if now >= *end => Due::Over,
            Source::Closed { left: None, .. } => Due::Since(now),
            Source::Closed { left: Some(0), .. } => Due::Over,
            Source::Closed { left: Some(left), .. } => {
                *left -= 1;
                Due::Since(now)
            }
            Source::Open(schedule) => schedule.take(now),
        }
    }
}
