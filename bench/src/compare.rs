//! `bench compare`: the stack beside its peers in one interleaved run.
//!
//! Owns the order of a run. `systems` starts a system, `wrk` loads it, `verdict` has the bounds.
//! Invariant: each system runs alone, is warmed up and is loaded by the same program with the same
//! flags; one round measures all systems before the next round begins, so a slow minute of the
//! machine affects all of them.

mod appends;
mod bounds;
mod extra;
pub(crate) mod medians;
mod options;
mod report;
pub(crate) mod rows;

use std::cell::RefCell;

use anyhow::{Context, Result, ensure};

use self::extra::Extra;
pub use self::options::Options;
use self::rows::{Row, Rows};
use crate::interrupt;
use crate::machine::Machine;
use crate::peers::ground::Ground;
use crate::peers::systems::System;

/// Runs the comparison that `options` describe and writes its report, also after Ctrl-C.
///
/// # Errors
/// Nothing could be measured, or the report cannot be written.
pub fn main(options: &Options) -> Result<()> {
    if let Some(directory) = &options.from {
        return report::from_run(directory, options.ground.report);
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default())?;
    runtime.block_on(async {
        let rows = Rows::new(Machine::describe(), &options.store.kind, options.seconds, options.rounds);
        let rows = RefCell::new(rows);
        let ground = Ground::prepare_on(&options.store.kind, &options.ground, "compare").await?;
        ground.wrk().await.context("wrk drives everybody")?;
        let measured = tokio::select! {
            measured = measure(options, &ground, &rows) => measured,
            () = interrupt::requested() => {
                rows.borrow_mut().interrupted = true;
                Ok(())
            }
        };
        // Every process has ended.
        ground.clear().await?;
        let rows = rows.into_inner();
        if !rows.rows.is_empty() || !rows.extras.is_empty() {
            report::write(&rows, &ground.runs, options.ground.report)?;
        }
        measured?;
        ensure!(!rows.rows.is_empty() || !rows.extras.is_empty(), "nothing was measured");
        Ok(())
    })
}

async fn measure(options: &Options, ground: &Ground, rows: &RefCell<Rows>) -> Result<()> {
    let mut systems = Vec::new();
    for system in System::ALL.into_iter().filter(|system| options.wants(system.name())) {
        match system.prepare(ground).await {
            Ok(()) => systems.push(system),
            Err(why) => skip(rows, system.name(), &why),
        }
    }
    for round in 1..=options.rounds {
        // A system that failed once would fail in every round, so it is not started again.
        let mut failed = Vec::new();
        for system in &systems {
            if let Err(error) = measure_system(options, ground, rows, *system, round).await {
                skip(rows, system.name(), &error);
                failed.push(*system);
            }
        }
        systems.retain(|system| !failed.contains(system));
    }
    for extra in Extra::ALL.into_iter().filter(|extra| extra.is_wanted(options)) {
        if let Err(error) = extra.measure(options, ground, rows).await {
            skip(rows, extra.name(), &error);
        }
    }
    Ok(())
}

async fn measure_system(
    options: &Options,
    ground: &Ground,
    rows: &RefCell<Rows>,
    system: System,
    round: u32,
) -> Result<()> {
    let running = system.start(ground).await?;
    for &connections in &options.connections {
        // The slowest peers are measured at the usual number of connections only.
        if connections != options.usual_connections() && system.is_slow() {
            continue;
        }
        running.drive(ground, connections, options.warmup, "warm-up").await?;
        let before = running.cpu()?;
        let name = format!("{}-c{connections}-round{round}", system.name());
        let result = running.drive(ground, connections, options.seconds, &name).await?;
        let row = Row::new(system.name(), connections, round, &result, &before, &running.cpu()?);
        println!("{row}");
        rows.borrow_mut().rows.push(row);
    }
    running.stop().await;
    Ok(())
}

fn skip(rows: &RefCell<Rows>, name: &str, why: &anyhow::Error) {
    println!("SKIPPED: {name}: {why:#}");
    rows.borrow_mut().skipped.push((name.to_owned(), format!("{why:#}")));
}
