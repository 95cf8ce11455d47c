//! Worker threads: each with a tokio `LocalRuntime`, its own [`Bus`] and its own state.
//!
//! One thread, one runtime, one share of everything (docs/adr/0001). What leaves a worker leaves as
//! the answer to a question that was sent to it.

use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot};

use bus::{Bus, Seed};

use crate::Scheduling;

/// Questions that wait for one worker: admin and telemetry ask some a second.
const JOBS: usize = 64;
/// Tasks run between two looks at the sockets. More of them share a write, fewer see new bytes
/// sooner.
const EVENT_INTERVAL: u32 = 61;

/// A question to a worker, run on its thread.
type Job<S> = Box<dyn FnOnce(&Rc<S>) + Send>;

/// The threads of a role, each with a state `S` that never leaves it.
pub struct Workers<S> {
    jobs: Vec<mpsc::Sender<Job<S>>>,
    threads: Vec<JoinHandle<()>>,
}

/// Starts one thread per seed. `build` runs on each thread, inside its runtime: it spawns the local
/// tasks (listeners, connections) and returns the worker's state. Returns when every `build` has,
/// with the first error.
///
/// # Errors
/// A thread that cannot be started, or the first `build` that failed; the other threads have ended
/// then.
pub fn start<S: 'static, B>(
    name: &str,
    scheduling: Scheduling,
    seeds: Vec<Seed>,
    build: B,
) -> io::Result<Workers<S>>
where
    B: Fn(usize, Bus) -> io::Result<S> + Clone + Send + 'static,
{
    let mut workers = Workers { jobs: Vec::new(), threads: Vec::new() };
    let mut built = Vec::new();
    for (index, seed) in seeds.into_iter().enumerate() {
        let (jobs, inbox) = mpsc::channel(JOBS);
        let (report, outcome) = sync_channel(1);
        let build = build.clone();
        let run = move || {
            scheduling.apply();
            let runtime = Builder::new_current_thread()
                .enable_all()
                .event_interval(EVENT_INTERVAL)
                .build_local(LocalOptions::default());
            match runtime {
                Ok(runtime) => runtime.block_on(work(inbox, report, || build(index, seed.start()))),
                Err(error) => drop(report.send(Err(error))),
            }
        };
        let thread = std::thread::Builder::new().name(format!("{name}-{index}")).spawn(run)?;
        workers.jobs.push(jobs);
        workers.threads.push(thread);
        built.push(outcome);
    }
    for outcome in built {
        outcome.recv().unwrap_or_else(|_| Err(io::Error::other("a worker panicked while it was built")))?;
    }
    Ok(workers)
}

async fn work<S>(
    mut inbox: mpsc::Receiver<Job<S>>,
    report: std::sync::mpsc::SyncSender<io::Result<()>>,
    build: impl FnOnce() -> io::Result<S>,
) {
    let state = match build() {
        Ok(state) => Rc::new(state),
        Err(error) => return drop(report.send(Err(error))),
    };
    drop(report.send(Ok(())));
    // Until [`Workers`] is dropped: other workers' requests may use this one's connections.
    while let Some(job) = inbox.recv().await {
        job(&state);
    }
}

impl<S: 'static> Workers<S> {
    /// Runs `question` on every worker's thread and gathers the answers in the workers' order
    /// (admin, telemetry: never per request). A worker that has ended is left out.
    ///
    /// **Cancel safety**: the questions that were sent are still run.
    pub async fn ask<T, F>(&self, question: F) -> Vec<T>
    where
        T: Send + 'static,
        F: Fn(&S) -> T + Clone + Send + 'static,
    {
        self.give(|answer| {
            let question = question.clone();
            Box::new(move |state| drop(answer.send(question(state))))
        })
        .await
    }

    /// Runs a future made by `start` on every worker's thread, beside everything else there, and
    /// gathers what they return in the workers' order. A worker that has ended is left out, and so
    /// is one whose future panics.
    ///
    /// **Cancel safety**: the futures that were started run to their ends.
    pub async fn run<T, F, Fut>(&self, start: F) -> Vec<T>
    where
        T: Send + 'static,
        F: Fn(Rc<S>) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = T> + 'static,
    {
        self.give(|answer| {
            let start = start.clone();
            Box::new(move |state| {
                let running = start(Rc::clone(state));
                tokio::task::spawn_local(async move { drop(answer.send(running.await)) });
            })
        })
        .await
    }

    async fn give<T>(&self, job: impl Fn(oneshot::Sender<T>) -> Job<S>) -> Vec<T> {
        let mut answers = Vec::with_capacity(self.jobs.len());
        for jobs in &self.jobs {
            let (answer, answered) = oneshot::channel();
            if jobs.send(job(answer)).await.is_ok() {
                answers.push(answered);
            }
        }
        let mut gathered = Vec::with_capacity(answers.len());
        for answer in answers {
            gathered.extend(answer.await);
        }
        gathered
    }

    /// Runs `last` on every worker (drain, with its deadline inside), then ends the threads. The
    /// answers in order.
    pub async fn stop<T, F, Fut>(self, last: F) -> Vec<T>
    where
        T: Send + 'static,
        F: Fn(Rc<S>) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = T> + 'static,
    {
        let answers = self.run(last).await;
        self.end();
        answers
    }

    /// Ends the threads and waits for them; what still runs there is dropped.
    pub fn end(self) {
        drop(self.jobs);
        for thread in self.threads {
            // A worker that panicked has said so; there is nothing to add here.
            drop(thread.join());
        }
    }

    /// How many there are, ended ones included.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.threads.len()
    }

    /// True when every thread still runs; a worker ends early only by a panic.
    #[must_use]
    pub fn all_run(&self) -> bool {
        self.threads.iter().all(|thread| !thread.is_finished())
    }
}
