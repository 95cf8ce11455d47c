//! Scheduled tasks: `every` minute, or at the times of a `cron` pattern, in one of all instances.
//!
//! Owns the tasks of a router ([`crate::Router::every`], [`crate::Router::cron`]); `when` owns the
//! times, `driver` the runs, `store::layers::slots` who runs. Behind the feature `store`.
//!
//! - **Once.** Each time of a task is run by one instance of the service, whichever claims it first
//!   in their store. In a process, worker 0 runs all tasks.
//! - **Times** are those of UTC. A period begins with 1970, so `every("1h", ...)` runs at full
//!   hours. A task that is new runs first at its next time.
//! - **Missed times.** When no instance ran at some times of a task, it is run once, at once, as
//!   soon as an instance runs; [`Run::previous_ms`] tells since when. So a task must do what its
//!   time asks for, not one step per run.
//! - **No overlap.** A task is not run while its last run lasts, wherever that is. Times that pass
//!   meanwhile are missed times.
//! - **The end of an instance.** An instance that is asked to stop begins no run. A run in progress
//!   may last until the drain deadline. When an instance dies during a run, the run's lease ends
//!   after the task's period, at least 1 s and at most 15 s, and another instance runs the task
//!   again. A run may therefore begin twice; what it writes to the store in a transaction with
//!   [`Run::check_in`] is written once.
//! - **Failures.** A task that returns an error or panics is logged, counted, and run again after a
//!   pause: 1 s, doubling with each failure up to 5 min. Its times do not come sooner meanwhile.
//!
//! ```no_run
//! # use service_host::data::{StoreOptions, StoreSettings};
//! # use service_host::{Options, Router, Settings};
//! # #[derive(Clone, clap::Parser)]
//! # #[command(name = "mails", version)]
//! # struct Args {
//! #     #[command(flatten)]
//! #     host: Options,
//! #     #[command(flatten)]
//! #     store: StoreOptions,
//! # }
//! # impl Settings for Args {
//! #     fn options(&self) -> &Options {
//! #         &self.host
//! #     }
//! # }
//! # impl StoreSettings for Args {
//! #     const OWNER: store::Owner = store::Owner { service: "mails", layout: 1 };
//! #     fn store(&self) -> &StoreOptions {
//! #         &self.store
//! #     }
//! # }
//! use store::layers::pubsub::{Retention, Topic};
//!
//! fn main() -> std::process::ExitCode {
//!     service_host::data::main(|_: &Args, store| {
//!         move |_| {
//!             let topic = Topic::new(&store, &store::Subspace::from(("mails", "sent")));
//!             let router = Router::new()
//!                 .every("1m", "trim", move |_run| {
//!                     let topic = topic.clone();
//!                     async move { topic.trim(&Retention::default()).await.map(drop) }
//!                 })
//!                 .cron("0 3 * * *", "report", |run| async move {
//!                     tracing::info!(since_ms = run.previous_ms, "the day's report");
//!                     Ok::<_, store::Error>(())
//!                 });
//!             Ok(router)
//!         }
//!     })
//! }
//! ```

mod driver;
mod error;
mod tally;
mod task;
mod when;

#[cfg(test)]
mod tests;

use std::error::Error;
use std::future::Future;
use std::rc::Rc;

use store::layers::Clock;
pub use store::layers::slots::Run;
use store::layers::slots::Slots;

use self::driver::Schedule;
pub(crate) use self::error::TaskError;
use self::task::{Task, boxed};
use self::when::When;
use crate::background::{Background, Start};

/// The tasks of a service, collected.
#[derive(Default)]
pub(crate) struct Tasks {
    added: Vec<Result<Task, TaskError>>,
    place: Place,
}

/// Where the tasks of a router run.
#[derive(Default)]
enum Place {
    /// The service keeps no data.
    #[default]
    Missing,
    /// On another worker.
    Elsewhere,
    Here(Slots),
}

impl Tasks {
    pub(crate) fn run_elsewhere(&mut self) {
        self.place = Place::Elsewhere;
    }

    pub(crate) fn run_on(&mut self, slots: Slots) {
        self.place = Place::Here(slots);
    }

    /// Adds a task; what is wrong with it is reported by [`Tasks::finish`].
    pub(crate) fn every<H, F, E>(&mut self, period: &str, name: &str, handler: H)
    where
        H: Fn(Run) -> F + 'static,
        F: Future<Output = Result<(), E>> + 'static,
        E: Into<Box<dyn Error>> + 'static,
    {
        self.added.push(When::every(period).and_then(|when| Task::new(name, when, boxed(handler))));
    }

    /// As [`Tasks::every`], at the times of a pattern.
    pub(crate) fn cron<H, F, E>(&mut self, pattern: &str, name: &str, handler: H)
    where
        H: Fn(Run) -> F + 'static,
        F: Future<Output = Result<(), E>> + 'static,
        E: Into<Box<dyn Error>> + 'static,
    {
        self.added.push(When::cron(pattern).and_then(|when| Task::new(name, when, boxed(handler))));
    }

    /// What starts the tasks; `None` when none runs here.
    pub(crate) fn finish(self) -> Result<Option<Start>, TaskError> {
        let tasks = self.added.into_iter().collect::<Result<Vec<_>, _>>()?;
        for (at, task) in tasks.iter().enumerate() {
            if tasks[..at].iter().any(|other| other.name == task.name) {
                return Err(TaskError::Twice { name: task.name.clone() });
            }
        }
        let Some(first) = tasks.first() else { return Ok(None) };
        let slots = match self.place {
            Place::Missing => return Err(TaskError::NoStore { name: first.name.clone() }),
            Place::Elsewhere => return Ok(None),
            Place::Here(slots) => slots,
        };
        let start = move || Rc::new(Schedule::start(tasks, &slots, &Clock::wall())) as Rc<dyn Background>;
        Ok(Some(Box::new(start)))
    }
}
