//! One thread of load: its runtime and its connections.
//!
//! Owns opening every connection before the clock starts, giving up late requests, and stopping.
//! Invariant: all threads start their clocks together.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Barrier, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::connection::{self, Shared, Slot, UnderWay};
use super::feed::{Feed, Source};
use super::plan::Plan;
use super::progress::Counters;
use super::schedule::Schedule;
use super::stream::Stream;
use super::tally::{Failure, Tally};
use super::tick::Tick;

/// Interval of the check for late requests.
const SWEEP: Duration = Duration::from_millis(50);

/// What a thread starts with.
pub(super) struct Share {
    pub(super) plan: Arc<Plan>,
    pub(super) index: usize,
    pub(super) counters: Arc<[Counters]>,
    pub(super) barrier: Arc<Barrier>,
    /// True when a thread could not open its connections, so no thread starts.
    pub(super) failed: Arc<AtomicBool>,
    pub(super) stopped: watch::Receiver<bool>,
}

/// Runs the thread's share of the load.
pub(super) fn run(share: Share) -> Result<Tally> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(work(share))
}

async fn work(share: Share) -> Result<Tally> {
    let Share { plan, index, counters, barrier, failed, mut stopped } = share;
    let streams = open(&plan, index).await;
    // The other threads wait for this one, so it arrives here even after a failure.
    failed.fetch_or(streams.is_err(), Ordering::Relaxed);
    barrier.wait().await;
    let streams = streams?;
    if failed.load(Ordering::Relaxed) {
        return Ok(Tally::new(&plan));
    }
    let start = Instant::now();
    let _ = plan.started.set(start);
    let end = plan.duration.map(|duration| start + duration);
    let feed = Feed::new(source(&plan, index, start), streams.len());
    let shared = Rc::new(Shared::new(Arc::clone(&plan), feed, counters, index));
    shared.tally.borrow_mut().count_from(start + plan.warmup);
    let mut crew = Crew { shared: Rc::clone(&shared), tasks: JoinSet::new(), members: HashMap::new() };
    for (index, stream) in streams.into_iter().enumerate() {
        crew.start(index, stream);
    }
    let tick = Tick::new()?;
    let timer = shared.feed.run(&tick);
    tokio::pin!(timer);
    let mut sweep = tokio::time::interval(SWEEP);
    let mut timer_runs = plan.rate.is_some();
    loop {
        tokio::select! {
            joined = crew.tasks.join_next() => if joined.is_none() { break },
            ended = &mut timer, if timer_runs => { ended?; timer_runs = false; }
            _ = sweep.tick() => {
                crew.give_up_late();
                // Requests that are not answered by then never will be.
                if end.is_some_and(|end| Instant::now() >= end + plan.timeout) {
                    break;
                }
            }
            _ = stopped.changed() => break,
        }
    }
    let now = Instant::now();
    let was_stopped = *stopped.borrow();
    drop(crew);
    let unsent = if was_stopped { 0 } else { shared.feed.overdue(now) };
    let mut tally = shared.tally.replace(Tally::new(&plan));
    tally.end(if was_stopped { now } else { end.map_or(now, |end| end.min(now)) }, unsent);
    Ok(tally)
}

/// Opens the thread's connections, when they are kept alive.
async fn open(plan: &Plan, index: usize) -> Result<Vec<Option<Stream>>> {
    let mut streams = Vec::new();
    for number in 0..plan.connections_of(index) {
        let stream = match plan.keepalive {
            false => None,
            true => Some(Stream::connect(&plan.address).await.with_context(|| {
                format!(
                    "connection {} of thread {index} to {}; `ulimit -n` and the server's limit bound them",
                    number + 1,
                    plan.address
                )
            })?),
        };
        streams.push(stream);
    }
    Ok(streams)
}

fn source(plan: &Plan, index: usize, start: Instant) -> Source {
    let left = plan.requests_of(index);
    let Some(rate) = plan.rate else {
        return Source::Closed { left, end: plan.duration.map(|duration| start + duration) };
    };
    let threads = u32::try_from(plan.threads).unwrap_or(u32::MAX);
    let phase = f64::from(u32::try_from(index).unwrap_or(0)) / f64::from(threads);
    Source::Open(Schedule::new(start, rate / f64::from(threads), phase, plan.duration, left))
}

/// The tasks of a thread.
struct Crew {
    shared: Rc<Shared>,
    tasks: JoinSet<()>,
    members: HashMap<usize, (Rc<Slot>, AbortHandle)>,
}

impl Crew {
    fn start(&mut self, index: usize, stream: Option<Stream>) {
        let slot = Rc::new(Slot::default());
        let run = connection::run(Rc::clone(&self.shared), Rc::clone(&slot), index, stream);
        let task = self.tasks.spawn_local(run);
        self.members.insert(index, (slot, task));
    }

    /// Closes connections whose request has waited too long, and opens others in their place.
    fn give_up_late(&mut self) {
        let (now, timeout) = (Instant::now(), self.shared.plan.timeout);
        let is_late = |slot: &Slot| slot.under_way.get().filter(|request| now - request.sent >= timeout);
        let late: Vec<(usize, UnderWay)> = self
            .members
            .iter()
            .filter_map(|(index, (slot, _))| is_late(slot).map(|request| (*index, request)))
            .collect();
        for (index, UnderWay { due, kind, .. }) in late {
            if let Some((_, task)) = self.members.remove(&index) {
                task.abort();
            }
            self.shared.fail(due, kind, Failure::Timeout);
            self.start(index, None);
        }
    }
}
