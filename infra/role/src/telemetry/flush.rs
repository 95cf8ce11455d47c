//! When samples go to statsd: once an interval, and once at the end.
//!
//! Owns: the task, and its end. Leaves the form to `statsd`. Invariant: the last flush has
//! everything that was counted before it.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::Statsd;
use crate::identity::Identity;
use crate::metrics::{Latencies, Picture};
use crate::observer::{Observer, Process};

/// Where and how samples are sent.
#[derive(Clone, Debug)]
pub struct Destination {
    /// HOST:PORT of the daemon.
    pub target: String,
    /// What every name starts with; `{service}`, `{host}` and `{instance}` are replaced.
    pub prefix: String,
    /// Labels as DogStatsD's tags.
    pub dogstatsd: bool,
    /// Between two flushes.
    pub interval: Duration,
}

impl Destination {
    /// A client. Resolves the name, so it may block.
    ///
    /// # Errors
    /// What is wrong with target or prefix, beginning with the flag.
    pub fn connect(&self, identity: &Identity) -> Result<Statsd, String> {
        Statsd::new(&self.target, &self.prefix, self.dogstatsd, identity)
            .map_err(|error| format!("--statsd {}: {error}", self.target))
    }
}

/// The flushing task of a role; without a daemon it does nothing.
pub struct Flush<S> {
    observer: Rc<Observer<S>>,
    task: Option<(JoinHandle<Statsd>, oneshot::Sender<()>)>,
}

impl<S: 'static> Flush<S> {
    /// Starts it, with the client and the interval. Inside a `LocalRuntime`.
    #[must_use]
    pub fn start(observer: Rc<Observer<S>>, statsd: Option<(Statsd, Duration)>) -> Self {
        let task = statsd.map(|(statsd, interval)| {
            let (stop, stopped) = oneshot::channel();
            (tokio::task::spawn_local(run(Rc::clone(&observer), statsd, interval, stopped)), stop)
        });
        Self { observer, task }
    }

    /// Ends the task with a flush of what the workers have counted until now.
    pub async fn last(self) {
        let observer = Rc::clone(&self.observer);
        let last = self.stop().await;
        if last.statsd.is_some() {
            last.flush(&observer.pictures(Latencies::SinceFlush).await);
        }
    }

    /// Ends the task; the caller sends the last pictures, taken with [`Latencies::SinceFlush`] when
    /// the workers ended.
    pub async fn stop(self) -> Last {
        let statsd = match self.task {
            None => None,
            Some((task, stop)) => {
                drop(stop);
                let ended = task.await;
                ended.inspect_err(|error| tracing::error!(%error, "the statsd task panicked")).ok()
            }
        };
        Last { process: self.observer.process.clone(), statsd }
    }
}

/// The client when its task has ended; holds no worker.
pub struct Last {
    process: Process,
    statsd: Option<Statsd>,
}

impl Last {
    /// Sends the last pictures.
    pub fn flush(self, pictures: &[Picture]) {
        if let Some(mut statsd) = self.statsd {
            let dropped = statsd.packets_dropped();
            statsd.flush(&self.process.samples(pictures, dropped));
        }
    }
}

async fn run<S: 'static>(
    observer: Rc<Observer<S>>,
    mut statsd: Statsd,
    interval: Duration,
    mut stopped: oneshot::Receiver<()>,
) -> Statsd {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = &mut stopped => return statsd,
        }
        let pictures = observer.pictures(Latencies::SinceFlush).await;
        statsd.flush(&observer.samples(&pictures));
        observer.set_statsd_packets_dropped(statsd.packets_dropped());
    }
}
