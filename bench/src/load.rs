//! `bench load`: HTTP/1.1 load, at a fixed rate (open loop) or as fast as the connections allow
//! (closed loop).
//!
//! Owns the order of a run: plan, threads, progress, outcome. Invariant: at a fixed rate latency
//! counts from the moment when a request was due, so a server that stalls is charged for every
//! request that had to wait (Tene, "How NOT to Measure Latency", 2015: no coordinated omission).

pub mod options;
pub mod outcome;
pub mod plot;

mod connection;
mod feed;
pub(crate) mod mix;
pub(crate) mod plan;
pub(crate) mod polls;
mod progress;
mod response;
mod schedule;
mod stamp;
mod stream;
mod tally;
mod target;
mod template;
mod thread;
mod tick;
pub(crate) mod wakes;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::{Barrier, watch};

use self::options::Options;
use self::outcome::Outcome;
use self::plan::Plan;
use self::progress::Counters;
use self::tally::Tally;
use crate::interrupt;

/// Runs the load that `options` describe, writes the requested files, prints the result.
///
/// # Errors
/// Bad options, a server that cannot be reached, a file that cannot be written.
pub fn main(options: &Options) -> Result<()> {
    let outcome = run(options)?;
    println!("{outcome}");
    if let Some(path) = &options.json {
        outcome.write(path)?;
    }
    if let Some(directory) = &options.plot {
        plot::write(&[("", &outcome)], directory)?;
    }
    Ok(())
}

/// Runs the load and returns the result, also after Ctrl-C.
///
/// # Errors
/// Bad options, or a server that cannot be reached.
pub fn run(options: &Options) -> Result<Outcome> {
    let plan = Arc::new(Plan::new(options)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(drive(&plan, std::pin::pin!(interrupt::requested())))
}

/// Sends the requests of `plan` until it is done or `interrupted`.
///
/// # Errors
/// The server cannot be reached.
pub(crate) async fn drive(
    plan: &Arc<Plan>,
    mut interrupted: Pin<&mut impl Future<Output = ()>>,
) -> Result<Outcome> {
    stream::Stream::connect(&plan.address)
        .await
        .with_context(|| format!("{}: cannot connect; is the server running there?", plan.address))?;
    let counters: Arc<[Counters]> = (0..plan.threads).map(|_| Counters::default()).collect();
    let barrier = Arc::new(Barrier::new(plan.threads));
    let failed = Arc::default();
    let (stop, stopped) = watch::channel(false);
    let mut threads = Vec::new();
    for index in 0..plan.threads {
        let share = thread::Share {
            plan: Arc::clone(plan),
            index,
            counters: Arc::clone(&counters),
            barrier: Arc::clone(&barrier),
            failed: Arc::clone(&failed),
            stopped: stopped.clone(),
        };
        let name = format!("load-{index}");
        threads.push(std::thread::Builder::new().name(name).spawn(move || thread::run(share))?);
    }
    let mut progress = progress::Line::new(plan, &counters);
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                progress.show();
                if threads.iter().all(std::thread::JoinHandle::is_finished) {
                    break;
                }
            }
            () = &mut interrupted, if !*stop.borrow() => { let _ = stop.send(true); }
        }
    }
    progress.clear();
    let mut total = Tally::new(plan);
    for thread in threads {
        let tally = thread.join().map_err(|_| anyhow::anyhow!("a load thread panicked"))??;
        total.add(&tally);
    }
    Ok(Outcome::new(plan, &total, *stop.borrow()))
}
