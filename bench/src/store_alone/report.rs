//! The report of `bench store`: on stdout, as Markdown, as JSON, and in bench/README.md.
//!
//! Owns the rows and the table. Invariant: a cell is the median of the rounds.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::drive::Measured;
use super::options::Options;
use super::work::Work;
use crate::figures::{float, median};
use crate::machine::Machine;
use crate::peers::stores::StoreKind;
use crate::report::{self, readme};

/// A run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Report {
    machine: Machine,
    /// The command line of the run.
    command: String,
    store: StoreKind,
    /// Duration of each measurement.
    seconds: u32,
    rounds: u32,
    pub(super) rows: Vec<Row>,
}

/// One measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Row {
    /// `store`, or `client` for FoundationDB's own.
    whose: String,
    work: Work,
    /// Requests in flight.
    width: usize,
    round: u32,
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// Changes of the store's counters per request.
    each: BTreeMap<String, f64>,
}

impl Row {
    /// `counted` are changes of the store's counters, with all requests together.
    pub(super) fn new(
        whose: &str,
        work: Work,
        width: usize,
        round: u32,
        measured: &Measured,
        counted: BTreeMap<String, f64>,
    ) -> Self {
        let &Measured { per_second, p50_ms, p99_ms, requests } = measured;
        let requests = float(requests.max(1));
        let each = counted.into_iter().map(|(name, count)| (name, count / requests)).collect();
        Self { whose: whose.to_owned(), work, width, round, per_second, p50_ms, p99_ms, each }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { whose, work, width, round, per_second, p50_ms, p99_ms, .. } = self;
        write!(
            f,
            "round {round}  {:<24} {whose:<6} @{width:<4} {per_second:>9.0}/s  p50 {p50_ms:>7.2} ms  p99 {p99_ms:>8.2} ms",
            work.described()
        )
    }
}

impl Report {
    pub(super) fn new(machine: Machine, store: &StoreKind, options: &Options) -> Self {
        let command: Vec<String> = std::env::args().skip(1).collect();
        Self {
            machine,
            command: format!("bench {}", command.join(" ")),
            store: store.clone(),
            seconds: options.seconds,
            rounds: options.rounds,
            rows: Vec::new(),
        }
    }

    /// Writes `store.json` and `report.md` into `run`, prints the report, and writes it into the
    /// README on request.
    pub(super) fn write(&self, run: &Path, into_readme: bool) -> Result<()> {
        let name = run.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let markdown = format!("{}\nRun kept in `bench/runs/{name}`.\n", self.markdown());
        report::keep(run, "store.json", self, &markdown)?;
        if into_readme {
            readme::replace(&format!("store{}", self.store.suffix()), &markdown)?;
        }
        Ok(())
    }

    fn markdown(&self) -> String {
        let mut out = format!("`{}` · {}\n\n", self.command, self.machine.line());
        let _ = writeln!(
            out,
            "{} rounds of {} s each, one thread; data in {}.\n",
            self.rounds,
            self.seconds,
            self.store.described()
        );
        out.push_str(
            "| request | in flight | per s | p50 ms | p99 ms | client alone, per s | p50 ms | p99 ms | / client | counted per request |\n\
             | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |\n",
        );
        let mut cells: Vec<(Work, usize)> = self.rows.iter().map(|row| (row.work, row.width)).collect();
        cells.sort_unstable();
        cells.dedup();
        for (work, width) in cells {
            let [ours, client] = ["store", "client"].map(|whose| self.medians(whose, work, width));
            let text = |figures: Option<[f64; 3]>| match figures {
                Some([rate, p50, p99]) => format!("{rate:.0} | {p50:.2} | {p99:.2}"),
                None => "- | - | -".to_owned(),
            };
            let ratio = ours.zip(client).map(|(ours, client)| ours[0] / client[0].max(1e-9));
            let ratio = ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
            let each = self.rows.iter().find(|row| row.work == work && row.width == width);
            let each = each.map(|row| row.each.iter().map(|(name, each)| format!("{name} {each:.2}")));
            let _ = writeln!(
                out,
                "| {} | {width} | {} | {} | {ratio} | {} |",
                work.described(),
                text(ours),
                text(client),
                each.into_iter().flatten().collect::<Vec<_>>().join(", ")
            );
        }
        out
    }

    /// Rate and percentiles; `None` when they were not measured.
    fn medians(&self, whose: &str, work: Work, width: usize) -> Option<[f64; 3]> {
        let fits = |row: &&Row| row.whose == whose && row.work == work && row.width == width;
        let rounds: Vec<&Row> = self.rows.iter().filter(fits).collect();
        let over = |value: fn(&Row) -> f64| median(rounds.iter().map(|row| value(row)).collect());
        (!rounds.is_empty())
            .then(|| [over(|row| row.per_second), over(|row| row.p50_ms), over(|row| row.p99_ms)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_the_median_of_its_rounds_beside_the_client_of_the_same_run() {
        let row = |whose: &str, round: u32, per_second: f64| {
            let measured = Measured { per_second, p50_ms: 1.0, p99_ms: 2.0, requests: 10 };
            let counted = BTreeMap::from([("reads".to_owned(), 10.0)]);
            Row::new(whose, Work::Get, 256, round, &measured, counted)
        };
        let rows = vec![
            row("store", 1, 50.0),
            row("client", 1, 100.0),
            row("store", 2, 70.0),
            row("store", 3, 90.0),
        ];
        let report = Report {
            machine: Machine::default(),
            command: "bench store".to_owned(),
            store: "fdb:f".parse().unwrap(),
            seconds: 1,
            rounds: 3,
            rows,
        };
        let table = report.markdown();
        let line = "| point reads | 256 | 70 | 1.00 | 2.00 | 100 | 1.00 | 2.00 | 0.70 | reads 1.00 |";
        assert!(table.contains(line), "{table}");
    }
}
