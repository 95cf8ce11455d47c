//! The report of a mixed run: on stdout, as Markdown, as JSON, and in bench/README.md.
//!
//! Owns the table and the bounds. Invariant: only a run at least as hard as the bounds require can
//! pass.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::options::Options;
use crate::figures::float;
use crate::load::outcome::{Latency, Outcome};
use crate::load::plot;
use crate::load::wakes::Wakes;
use crate::machine::Machine;
use crate::peers::stores::StoreKind;
use crate::process::Cpu;
use crate::report::verdict::{Bound, Verdict};
use crate::report::{self, readme};

/// The load that the bounds require.
const RATE: u32 = 20_000;
/// The same on a FoundationDB cluster.
const RATE_CLUSTER: u32 = 10_000;
const POLLS: usize = 2000;
/// In milliseconds.
const P99_MAX: f64 = 25.0;
const WAKE_MAX: f64 = 100.0;

/// A finished run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) machine: Machine,
    /// The command line of the run.
    pub(super) command: String,
    /// Where the roles stored their data; `None` for a stack that ran already.
    #[serde(default)]
    pub(super) store: Option<StoreKind>,
    /// Requested rate per second, including the long polls' own requests.
    pub(super) rate: u32,
    pub(super) load: Outcome,
    pub(super) polls: Option<Wakes>,
    /// Seconds of CPU in the run including the warm-up, by process; empty when the roles were not
    /// started here.
    pub(super) cpu_seconds: BTreeMap<String, f64>,
    /// Resident bytes at the end of the run, by process.
    pub(super) resident: BTreeMap<String, u64>,
}

impl Report {
    pub(super) fn new(
        options: &Options,
        machine: Machine,
        load: Outcome,
        polls: Option<Wakes>,
        cpu: Option<(Cpu, Cpu)>,
        resident: BTreeMap<String, u64>,
    ) -> Self {
        let (before, after) = cpu.unwrap_or_default();
        let used = |(name, after): (&String, &std::time::Duration)| {
            let used = after.saturating_sub(before.get(name).copied().unwrap_or_default());
            (name.clone(), used.as_secs_f64())
        };
        let command: Vec<String> = std::env::args().skip(1).collect();
        Self {
            machine,
            command: format!("bench {}", command.join(" ")),
            store: options.url.is_none().then(|| options.store.kind.clone()),
            rate: options.rate,
            cpu_seconds: after.iter().map(used).collect(),
            load,
            polls,
            resident,
        }
    }

    /// Writes `mixed.json`, `report.md` and the plots into `run`, prints the report, and writes it
    /// into the README on request.
    pub(super) fn write(&self, run: &Path, into_readme: bool) -> Result<()> {
        let name = run.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let markdown = format!("{}\nRun kept in `bench/runs/{name}`.\n", self.markdown());
        report::keep(run, "mixed.json", self, &markdown)?;
        ensure!(self.load.latency.max_us > 0, "nothing was measured");
        plot::write(&[("", &self.load)], run)?;
        if into_readme {
            let suffix = self.store.as_ref().map_or("", StoreKind::suffix);
            readme::replace(&format!("mixed{suffix}"), &markdown)?;
        }
        Ok(())
    }

    fn markdown(&self) -> String {
        let Self { load, .. } = self;
        let mut out = String::new();
        let _ = writeln!(out, "`{}` · {}\n", self.command, self.machine.line());
        if load.interrupted {
            let _ = writeln!(out, "**Ended early by Ctrl-C; measured until then:**\n");
        }
        let _ = writeln!(
            out,
            "{:.1} s, {} connections, {} threads, {} requests/s asked for, seed {}; data in {}.\n",
            load.seconds,
            load.connections,
            load.threads,
            self.rate,
            load.seed,
            self.store.as_ref().map_or("the stores of the stack at --url", StoreKind::described)
        );
        self.table(&mut out);
        if let Some(polls) = &self.polls {
            polls_text(&mut out, polls);
        }
        if !self.cpu_seconds.is_empty() {
            let _ = writeln!(out, "| process | CPU s | MiB at the end |\n| --- | ---: | ---: |");
            for (name, seconds) in &self.cpu_seconds {
                let mib = float(self.resident.get(name).copied().unwrap_or(0)) / f64::from(1 << 20);
                let _ = writeln!(out, "| {name} | {seconds:.1} | {mib:.1} |");
            }
            out.push('\n');
        }
        let _ = writeln!(out, "| promise | bound | measured | |\n| --- | --- | --- | --- |");
        for verdict in self.verdicts() {
            let measured =
                verdict.measured.map_or_else(|| "-".to_owned(), |measured| format!("{measured:.2}"));
            let _ =
                writeln!(out, "| {} | {} | {measured} | {} |", verdict.what, verdict.bound, verdict.word());
        }
        out
    }

    fn table(&self, out: &mut String) {
        let load = &self.load;
        let of_rate = |count: u64| float(count) / load.seconds.max(1e-9) / f64::from(self.rate) * 100.0;
        out.push_str(
            "| request | responses | of the rate | errors | p50 ms | p99 ms | p99.9 ms | max ms |\n\
             | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        );
        let mut row = |name: &str, count: u64, errors: u64, latency: &Latency| {
            let Latency { p50_us, p99_us, p999_us, max_us, .. } = *latency;
            let _ = writeln!(
                out,
                "| {name} | {count} | {:.1} % | {errors} | {:.2} | {:.2} | {:.2} | {:.2} |",
                of_rate(count),
                ms(p50_us),
                ms(p99_us),
                ms(p999_us),
                ms(max_us),
            );
        };
        for kind in &load.kinds {
            row(&kind.name, kind.responses, kind.errors, &kind.latency);
        }
        row("**all of these**", load.responses, self.errors(), &load.latency);
        if let Some(polls) = &self.polls {
            row("long polls, from the write", polls.woken, polls.failed + polls.unanswered, &polls.wake);
        }
        out.push('\n');
    }

    /// Requests without a response, and responses with a status other than 2xx.
    fn errors(&self) -> u64 {
        self.load.errors.total() + self.load.responses - self.load.successes()
    }

    /// The bounds, beside what was measured.
    fn verdicts(&self) -> Vec<Verdict> {
        let load = &self.load;
        let polls = self.polls.as_ref().filter(|polls| polls.woken > 0);
        let is_cluster = self.store.as_ref().is_some_and(StoreKind::is_cluster);
        let (rate, load_name) = if is_cluster {
            (RATE_CLUSTER, "mixed, 10 000 requests/s")
        } else {
            (RATE, "mixed, 20 000 requests/s")
        };
        let is_hard = self.rate >= rate && self.polls.as_ref().is_some_and(|polls| polls.polls >= POLLS);
        let mut verdicts = vec![
            Verdict::new(
                format!("{load_name}: p99 ms"),
                Bound::AtMost(P99_MAX),
                Some(ms(load.latency.p99_us)),
            ),
            Verdict::new(format!("{load_name}: errors"), Bound::AtMost(0.0), Some(float(self.errors()))),
            Verdict::new(
                "2 000 long polls: ms from the write that wakes one to its answer, the longest",
                Bound::AtMost(WAKE_MAX),
                polls.map(|polls| ms(polls.wake.max_us)),
            ),
            Verdict::new(
                "2 000 long polls: failed or not told of a message",
                Bound::AtMost(0.0),
                self.polls.as_ref().map(|polls| float(polls.failed + polls.unanswered)),
            ),
        ];
        for verdict in &mut verdicts {
            // A pass under less load proves nothing; a failure under less load is a failure.
            verdict.holds = verdict.holds.filter(|holds| is_hard || !holds);
        }
        verdicts
    }
}

fn polls_text(out: &mut String, polls: &Wakes) {
    let Wakes { wake, telling, .. } = polls;
    let _ = writeln!(
        out,
        "{} long polls: {} woken by a message ({} messages told), {} ended without one, {} failed, {} not answered. From the \
         write that woke it to the poll's answer: p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms; from every write until it was \
         told, also between two polls: p99 {:.2} ms, max {:.2} ms.\n",
        polls.polls,
        polls.woken,
        polls.told,
        polls.empty,
        polls.failed,
        polls.unanswered,
        ms(wake.p50_us),
        ms(wake.p99_us),
        ms(wake.max_us),
        ms(telling.p99_us),
        ms(telling.max_us),
    );
    if let Some(why) = &polls.first_failure {
        let _ = writeln!(out, "The first that failed: {why}\n");
    }
}

fn ms(us: u64) -> f64 {
    float(us) / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A report with 1 ms everywhere and no errors.
    fn report(rate: u32, polls: usize) -> Report {
        let quick = serde_json::json!({
            "mean_us": 1000.0, "stdev_us": 0.0, "min_us": 1000, "p50_us": 1000, "p75_us": 1000, "p90_us": 1000,
            "p99_us": 1000, "p999_us": 1000, "p9999_us": 1000, "max_us": 1000,
        });
        let report = serde_json::json!({
            "machine": Machine::default(), "command": "bench mixed", "rate": rate, "cpu_seconds": {}, "resident": {},
            "polls": {"polls": polls, "woken": 1, "empty": 0, "failed": 0, "unanswered": 0, "told": 1,
                "wake": quick, "telling": quick},
            "load": {"address": "a", "connections": 1, "threads": 1, "rate": 1.0, "seed": 1,
                "seconds": 1.0, "interrupted": false, "responses": 10, "responses_per_second": 10.0, "bytes_read": 0,
                "bytes_written": 0, "statuses": {"200": 10}, "latency": quick, "percentiles": [], "timeline": [],
                "errors": {"connect": 0, "write": 0, "read": 0, "closed": 0, "malformed": 0, "timeout": 0, "unsent": 0}},
        });
        serde_json::from_value(report).unwrap()
    }

    fn words(report: &Report) -> Vec<&'static str> {
        report.verdicts().iter().map(Verdict::word).collect()
    }

    #[test]
    fn a_bound_is_kept_by_a_run_as_hard_as_it_is_promised_for_only() {
        assert_eq!(words(&report(RATE, POLLS)), ["pass"; 4]);
        assert_eq!(words(&report(RATE - 1, POLLS)), ["not measured"; 4]);
        assert_eq!(words(&report(RATE, POLLS - 1)), ["not measured"; 4]);
        let on_cluster = |rate| {
            let store = Some("fdb:/etc/fdb.cluster".parse().unwrap());
            Report { store, ..report(rate, POLLS) }
        };
        assert_eq!(words(&on_cluster(RATE_CLUSTER)), ["pass"; 4]);
        assert_eq!(words(&on_cluster(RATE_CLUSTER - 1)), ["not measured"; 4]);
    }

    #[test]
    fn each_bound_is_broken_by_its_own_figure() {
        let broken = |change: &dyn Fn(&mut Report, &mut Wakes)| {
            let mut report = report(100, 10);
            let mut polls = report.polls.take().unwrap();
            change(&mut report, &mut polls);
            report.polls = Some(polls);
            words(&report).iter().position(|word| *word == "FAIL")
        };
        assert_eq!(broken(&|_, _| ()), None);
        assert_eq!(broken(&|report, _| report.load.latency.p99_us = 25_001), Some(0));
        assert_eq!(broken(&|report, _| report.load.statuses = [(200, 9), (503, 1)].into()), Some(1));
        assert_eq!(broken(&|report, _| report.load.errors.timeout = 1), Some(1));
        assert_eq!(broken(&|_, polls| polls.wake.max_us = 100_001), Some(2));
        assert_eq!(broken(&|_, polls| polls.failed = 1), Some(3));
        assert_eq!(broken(&|_, polls| polls.unanswered = 1), Some(3));
    }
}
