//! Runs the tasks of an instance: waits for a time, claims it, calls the task, keeps the lease.
//!
//! Owns one tokio task for each scheduled task. Invariant: a handler is dropped as soon as its
//! run's lease is known to be over; after `stop` no run begins.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use role::metrics::Picture;
use store::layers::slots::{Claim, Run, RunError, Slots};
use store::layers::{Backoff, Clock};
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinHandle};

use super::tally::Tally;
use super::task::Task;
use crate::background::Background;

/// The pauses after failures of a task, in all instances together.
const AGAIN: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(300) };

/// The pauses of this instance while the store cannot be asked.
const STORE_AGAIN: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(30) };

/// The longest sleep. Then the clock is read again, which may have been set.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// A lease is renewed so many times before it would end.
const RENEWALS: u32 = 3;

/// The tasks of an instance, running. Dropping it ends them at once, as the death of the process
/// does.
pub(super) struct Schedule {
    tasks: Vec<Rc<Scheduled>>,
    stop: Rc<Stop>,
    _lives: Vec<Aborted<()>>,
}

/// One task.
struct Scheduled {
    task: Task,
    slots: Slots,
    clock: Clock,
    tally: Tally,
    /// True while the handler runs.
    is_running: Cell<bool>,
    stop: Rc<Stop>,
}

/// Says that no run is to begin.
#[derive(Default)]
struct Stop {
    is_set: Cell<bool>,
    changed: Notify,
}

impl Schedule {
    /// Starts all tasks, inside a runtime with local tasks.
    pub(super) fn start(tasks: Vec<Task>, slots: &Slots, clock: &Clock) -> Self {
        let stop = Rc::new(Stop::default());
        let scheduled = |task| {
            let (slots, clock, stop) = (slots.clone(), clock.clone(), Rc::clone(&stop));
            let is_running = Cell::new(false);
            Rc::new(Scheduled { task, slots, clock, tally: Tally::default(), is_running, stop })
        };
        let tasks: Vec<_> = tasks.into_iter().map(scheduled).collect();
        let live = |scheduled: &Rc<Scheduled>| Aborted(tokio::task::spawn_local(Rc::clone(scheduled).live()));
        Self { _lives: tasks.iter().map(live).collect(), tasks, stop }
    }
}

impl Background for Schedule {
    fn stop(&self) {
        self.stop.is_set.set(true);
        self.stop.changed.notify_waiters();
    }

    fn running(&self) -> usize {
        self.tasks.iter().filter(|scheduled| scheduled.is_running.get()).count()
    }

    fn add_to(&self, picture: &mut Picture) {
        for scheduled in &self.tasks {
            scheduled.tally.add_to(&scheduled.task.name, picture);
        }
        picture.gauges.push(("schedule.running", self.running() as u64));
    }
}

impl Stop {
    /// Sleeps; true when it was set before the end.
    async fn within(&self, time: Duration) -> bool {
        let changed = self.changed.notified();
        if self.is_set.get() || time.is_zero() {
            return self.is_set.get();
        }
        tokio::select! {
            () = changed => true,
            () = tokio::time::sleep(time) => false,
        }
    }
}

/// Ends a tokio task when it is dropped.
struct Aborted<T>(JoinHandle<T>);

impl<T> Drop for Aborted<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Scheduled {
    /// Claims and runs, until it is stopped.
    async fn live(self: Rc<Self>) {
        let mut failures = 0;
        loop {
            let now_ms = self.clock.now_ms();
            let next_ms = self.task.when.next(now_ms);
            let wake_ms = match self.claim(now_ms).await {
                Ok(Claim::Mine(run)) => {
                    if self.stop.is_set.get() {
                        self.ended(&run, self.slots.release(&run).await);
                        return;
                    }
                    self.run(run).await;
                    now_ms
                }
                Ok(Claim::Busy { until_ms }) => until_ms.min(next_ms),
                Ok(Claim::Done) => next_ms,
                Err(error) => {
                    failures += 1;
                    let pause = STORE_AGAIN.pause(failures, &mut fastrand::Rng::new());
                    tracing::warn!(task = self.task.name, %error, "a scheduled task cannot be claimed");
                    if self.stop.within(pause).await {
                        return;
                    }
                    continue;
                }
            };
            failures = 0;
            let pause = Duration::from_millis(wake_ms.saturating_sub(self.clock.now_ms()));
            if self.stop.within(pause.min(SLEEP_MAX)).await {
                return;
            }
        }
    }

    async fn claim(&self, now_ms: u64) -> Result<Claim, store::Error> {
        let when = &self.task.when;
        self.slots.claim(&self.task.name, when.due(now_ms), now_ms, when.lease()).await
    }

    async fn run(self: &Rc<Self>, run: Run) {
        self.tally.runs.increment();
        self.tally.missed(self.task.when.missed(run.previous_ms, run.slot_ms));
        self.is_running.set(true);
        tracing::debug!(
            task = self.task.name,
            slot_ms = run.slot_ms,
            fence = run.fence,
            "a scheduled task runs"
        );
        // A task of its own, because a panic then is a result.
        let called = run.clone();
        let work = async {
            let scheduled = Rc::clone(self);
            let work = async move { (scheduled.task.handler)(called).await };
            let mut work = Aborted(tokio::task::spawn_local(work));
            (&mut work.0).await
        };
        let outcome = tokio::select! {
            outcome = work => Some(outcome),
            () = self.keep(run.clone()) => None,
        };
        self.is_running.set(false);
        match outcome {
            Some(Ok(Ok(()))) => self.ended(&run, self.slots.succeed(&run).await),
            Some(Ok(Err(reason))) => self.failed(&run, &reason).await,
            Some(Err(panic)) => self.failed(&run, &said(panic)).await,
            None => {
                self.tally.failures.increment();
                tracing::error!(
                    task = self.task.name,
                    slot_ms = run.slot_ms,
                    "a scheduled task was ended: its lease could not be renewed in time, and it will run again"
                );
            }
        }
    }

    /// Renews the lease of `run`; returns when it is lost.
    async fn keep(&self, mut run: Run) {
        let lease = self.task.when.lease();
        loop {
            tokio::time::sleep(lease / RENEWALS).await;
            let now_ms = self.clock.now_ms();
            let left = Duration::from_millis(run.until_ms.saturating_sub(now_ms));
            match tokio::time::timeout(left, self.slots.renew(&mut run, now_ms, lease)).await {
                Ok(Ok(())) => {}
                Ok(Err(RunError::Store(error))) if self.clock.now_ms() < run.until_ms => {
                    tracing::warn!(task = self.task.name, %error, "the lease of a scheduled task is not renewed");
                }
                Ok(Err(_)) | Err(_) => return,
            }
        }
    }

    async fn failed(&self, run: &Run, reason: &str) {
        self.tally.failures.increment();
        let pause = self.slots.fail(run, self.clock.now_ms(), AGAIN).await;
        let again = pause.as_ref().map(|pause| humantime::format_duration(*pause).to_string()).ok();
        tracing::error!(
            task = self.task.name,
            slot_ms = run.slot_ms,
            reason,
            again,
            "a scheduled task failed"
        );
        self.ended(run, pause.map(drop));
    }

    /// Logs when the end of a run is not stored: it runs again when its lease ends.
    fn ended(&self, run: &Run, stored: Result<(), RunError>) {
        if let Err(error) = stored {
            tracing::warn!(task = self.task.name, slot_ms = run.slot_ms, %error, "a run's end is not stored");
        }
    }
}

/// What a panic said.
fn said(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => {
            let text = panic.downcast_ref::<&str>().copied();
            let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            format!("it panicked: {}", text.unwrap_or("?"))
        }
        Err(error) => error.to_string(),
    }
}
