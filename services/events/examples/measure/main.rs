//! Measures the event store on the embedded store, alone or beside PostgreSQL in the same run.
//!
//! `cargo run --release -p events --example measure -- DIR [SECONDS] ["host=/tmp/pg user=postgres
//! dbname=postgres"] [FORM]`, where FORM is part of the name of one of PostgreSQL's forms; without
//! it all forms are measured. Each side runs the same work from this process: 250 writers, one
//! 200-byte event per transaction, each durable before it counts. Our side uses one thread per
//! core; PostgreSQL uses its processes, and a client of one or two threads. `examples/postgres.md`
//! says how to start PostgreSQL and has the results.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]

/// The service's own allocator.
#[global_allocator]
static ALLOCATOR: role::memory::Allocator = role::memory::Allocator;

mod load;
mod ours;
mod postgres;

use std::{process::ExitCode, time::Duration};

use load::Figures;

const USAGE: &str = "usage: measure DIR [SECONDS] [POSTGRES] [FORM], for example:
  measure /tmp/measure-events
  measure /tmp/measure-events 10 \"host=/tmp/pg user=postgres dbname=postgres\"
  measure /tmp/measure-events 1 \"host=/tmp/pg user=postgres dbname=postgres\" GIN";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let Some(dir) = args.next() else { return usage() };
    let Ok(seconds) = args.next().map_or(Ok(5), |seconds| seconds.parse()) else { return usage() };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default());
    let result = runtime.map_err(Into::into).and_then(|runtime| {
        runtime.block_on(measure(
            &dir,
            Duration::from_secs(seconds),
            args.next(),
            args.next().unwrap_or_default(),
        ))
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let source = error.source().map(|source| format!(": {source}"));
            eprintln!("measure: {error}{}", source.unwrap_or_default());
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
    postgres: Option<String>,
    form: String,
) -> Result<(), Box<dyn std::error::Error>> {
    println!("{} writers and readers, {} events beforehand, {time:?} each", load::TASKS, load::BEFOREHAND);
    load::disk(dir)?;
    let ours = ours::measure(dir, time).await?;
    let Some(conninfo) = postgres else { return Ok(()) };
    let mut all: Option<Figures> = None;
    for tables in postgres::TABLES.iter().filter(|tables| tables.name.contains(&form)) {
        load::disk(dir)?;
        let best = postgres::measure(&conninfo, tables, time).await?;
        ratios(tables.name, &ours, &best);
        all = Some(all.map_or(best, |all| all.best(&best)));
    }
    if let Some(all) = all {
        ratios("any of them, whichever is better in each row", &ours, &all);
    }
    Ok(())
}

fn ratios(name: &str, ours: &Figures, theirs: &Figures) {
    println!("events beside PostgreSQL, {name}: a second, and by CPU time of each");
    for (what, ours, theirs) in [
        ("appends", ours.appends, theirs.appends),
        ("conditional appends", ours.conditional, theirs.conditional),
        ("reads of an entity", ours.reads, theirs.reads),
    ] {
        let (rate, each) = (ours.rate / theirs.rate, theirs.each / ours.each);
        println!("  {what:<20} {:>7.0} / {:>7.0} = {rate:>5.1} x, CPU {each:>5.1} x", ours.rate, theirs.rate);
    }
}
