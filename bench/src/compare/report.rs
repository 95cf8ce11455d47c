//! The report of a comparison: on stdout, as Markdown, as JSON, and in bench/README.md.
//!
//! Owns the tables. Invariant: the same rows give the same tables, so a kept run can be printed
//! again.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};

use super::bounds;
use super::medians::Median;
use super::rows::Rows;
use crate::peers::systems::System;
use crate::report::{self, readme};

/// Pictures that a run may contain.
const PICTURES: [(&str, &str); 2] = [
    ("Latency by percentile, open loop", "latency-by-percentile.svg"),
    ("Latency over time, open loop", "latency-over-time.svg"),
];

/// Writes `rows.json` and `report.md` into `run`, prints the report, and writes it into the README
/// on request.
pub(super) fn write(rows: &Rows, run: &Path, into_readme: bool) -> Result<()> {
    let markdown = markdown(rows, run);
    report::keep(run, "rows.json", rows, &markdown)?;
    put(rows, &markdown, run, into_readme)
}

/// Prints the report of a kept run, and writes it into the README on request.
pub(super) fn from_run(run: &Path, into_readme: bool) -> Result<()> {
    let file = run.join("rows.json");
    let json = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let rows: Rows = serde_json::from_str(&json).with_context(|| file.display().to_string())?;
    let markdown = markdown(&rows, run);
    println!("\n{markdown}");
    put(&rows, &markdown, run, into_readme)
}

fn put(rows: &Rows, markdown: &str, run: &Path, into_readme: bool) -> Result<()> {
    if into_readme {
        readme::replace(&format!("compare{}", rows.store.suffix()), &format!("{markdown}{}", pictures(run)))?;
    }
    Ok(())
}

fn markdown(rows: &Rows, run: &Path) -> String {
    let mut out = String::new();
    let mut connections: Vec<u32> = rows.rows.iter().map(|row| row.connections).collect();
    connections.sort_unstable();
    connections.dedup();
    let name = run.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let _ = writeln!(out, "`{}` · {}", rows.command, rows.machine.line());
    let _ = writeln!(
        out,
        "\nRun kept in `bench/runs/{name}`: {} rounds of {} s each; the stack's data in {}.\n",
        rows.rounds,
        rows.seconds,
        rows.store.described()
    );
    if rows.interrupted {
        let _ = writeln!(out, "**Ended early by Ctrl-C.**\n");
    }
    for &connections in &connections {
        table(&mut out, rows, connections);
    }
    let _ = writeln!(out, "| promise | bound | measured | |\n| --- | --- | --- | --- |");
    for verdict in bounds::all(rows) {
        let measured = verdict.measured.map_or_else(|| "-".to_owned(), |measured| format!("{measured:.2}"));
        let _ = writeln!(out, "| {} | {} | {measured} | {} |", verdict.what, verdict.bound, verdict.word());
    }
    if !rows.extras.is_empty() {
        let _ = writeln!(out, "\n| further figure | |\n| --- | --- |");
        for (name, value) in &rows.extras {
            let _ = writeln!(out, "| {name} | {value:.2} |");
        }
    }
    for (name, why) in &rows.skipped {
        let _ = writeln!(out, "\nSKIPPED: {name}: {why}");
    }
    out
}

/// The run's pictures, as the README links them.
fn pictures(run: &Path) -> String {
    let name = run.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let there = PICTURES.iter().filter(|(_, file)| run.join(file).exists());
    there.map(|(title, file)| format!("\n![{title}](runs/{name}/{file})\n")).collect()
}

fn table(out: &mut String, rows: &Rows, connections: u32) {
    let bare = Median::of(rows, System::Bare.name(), connections).map(|bare| bare.requests_per_second);
    let _ = writeln!(
        out,
        "{connections} connections:\n\n| system | requests/s | lowest to highest | / bare | p50 ms | p99 ms | errors | CPU µs/request | of which |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |"
    );
    for system in System::ALL {
        let Some(median) = Median::of(rows, system.name(), connections) else { continue };
        let ratio =
            bare.map_or_else(|| "-".to_owned(), |bare| format!("{:.2}", median.requests_per_second / bare));
        let parts: Vec<String> = median.cpu_us.iter().map(|(name, us)| format!("{name} {us:.1}")).collect();
        let _ = writeln!(
            out,
            "| {} | {:.0} | {:.0} to {:.0} | {ratio} | {:.2} | {:.2} | {} | {:.1} | {} |",
            system.name(),
            median.requests_per_second,
            median.spread.0,
            median.spread.1,
            median.p50_ms,
            median.p99_ms,
            median.errors,
            median.cpu_total_us,
            parts.join(" + "),
        );
    }
    out.push('\n');
}
