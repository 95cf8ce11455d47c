//! Measures the event store on the embedded store, alone or beside PostgreSQL in the same run.
//!
//! `cargo run --release -p events --example measure -- DIR [SECONDS] ["host=/tmp/pg user=postgres dbname=postgres"]`.
//! Each side runs the same work from one thread of this process: 250 writers, one 200-byte event a transaction, every
//! one durable before it counts. `examples/postgres.md` says how to start PostgreSQL and what was measured.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]

mod load;
mod ours;
mod postgres;

use std::{process::ExitCode, time::Duration};

use load::Figures;

const USAGE: &str = "usage: measure DIR [SECONDS] [POSTGRES], for example:
  measure /tmp/measure-events
  measure /tmp/measure-events 10 \"host=/tmp/pg user=postgres dbname=postgres\"";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let Some(dir) = args.next() else { return usage() };
    let Ok(seconds) = args.next().map_or(Ok(5), |seconds| seconds.parse()) else { return usage() };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default());
    let result = runtime.map_err(Into::into).and_then(|runtime| {
        runtime.block_on(measure(&dir, Duration::from_secs(seconds), args.next().as_deref()))
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("measure: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

async fn measure(
    dir: &str,
    time: Duration,
    postgres: Option<&str>,
) -> Result<(), Box<dyn std::error::Error>> {
    println!("{} writers and readers, {} events beforehand, {time:?} each", load::TASKS, load::BEFOREHAND);
    let ours = ours::measure(dir, time).await?;
    let Some(conninfo) = postgres else { return Ok(()) };
    let mut best = Figures::default();
    for tables in postgres::TABLES {
        for connections in [32, 250] {
            best = best.best(&postgres::measure(conninfo, tables, connections, time).await?);
        }
    }
    println!("ratio to the best of PostgreSQL's figures in each row");
    for (what, ours, theirs) in [
        ("appends", ours.appends, best.appends),
        ("conditional appends", ours.conditional, best.conditional),
        ("reads of an entity", ours.reads, best.reads),
    ] {
        println!("  {what:<20} {ours:>9.0}/s {theirs:>9.0}/s {:>6.1} x", ours / theirs);
    }
    Ok(())
}
