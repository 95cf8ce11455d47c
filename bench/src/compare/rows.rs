//! The rows of a run, as they are stored: one per measurement.
//!
//! Owns the shape of the JSON. `medians` and `verdict` interpret it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::figures::float;
use crate::machine::Machine;
use crate::peers::stores::StoreKind;
use crate::peers::wrk::Measured;
use crate::process::Cpu;

/// A whole run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Rows {
    pub(super) machine: Machine,
    /// The command line of the run.
    pub(super) command: String,
    /// Where the stack's services stored their data.
    #[serde(default)]
    pub(super) store: StoreKind,
    /// Duration of each measurement.
    pub(super) seconds: u32,
    pub(super) rounds: u32,
    /// True when Ctrl-C ended the run.
    pub(super) interrupted: bool,
    pub(super) rows: Vec<Row>,
    /// Further figures, by name.
    pub(super) extras: BTreeMap<String, f64>,
    /// What could not be measured, and why.
    pub(super) skipped: Vec<(String, String)>,
}

/// One measurement of one system.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) system: String,
    pub(super) connections: u32,
    pub(super) round: u32,
    pub(super) requests_per_second: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    /// Socket errors, and responses with status 4xx and 5xx.
    pub(super) errors: u64,
    /// Microseconds of CPU per request, user and system, by process.
    pub(super) cpu_us: BTreeMap<String, f64>,
}

impl Rows {
    pub(super) fn new(machine: Machine, store: &StoreKind, seconds: u32, rounds: u32) -> Self {
        let command: Vec<String> = std::env::args().skip(1).collect();
        Self {
            machine,
            command: format!("bench {}", command.join(" ")),
            store: store.clone(),
            seconds,
            rounds,
            interrupted: false,
            rows: Vec::new(),
            extras: BTreeMap::new(),
            skipped: Vec::new(),
        }
    }
}

impl Row {
    pub(super) fn new(
        system: &str,
        connections: u32,
        round: u32,
        measured: &Measured,
        before: &Cpu,
        after: &Cpu,
    ) -> Self {
        let requests = float(measured.requests.max(1));
        let used = |name: &String, after: &Duration| {
            let used = after.saturating_sub(before.get(name).copied().unwrap_or_default());
            used.as_secs_f64() * 1e6 / requests
        };
        Self {
            system: system.to_owned(),
            connections,
            round,
            requests_per_second: measured.requests_per_second,
            p50_ms: measured.p50_ms,
            p99_ms: measured.p99_ms,
            errors: measured.errors + measured.refused,
            cpu_us: after.iter().map(|(name, after)| (name.clone(), used(name, after))).collect(),
        }
    }

    /// Microseconds of CPU per request, all processes together.
    pub(super) fn cpu_total_us(&self) -> f64 {
        self.cpu_us.values().sum()
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { system, connections, round, requests_per_second, p50_ms, p99_ms, errors, .. } = self;
        write!(
            f,
            "round {round}  {system:<15} @{connections:<5} {requests_per_second:>9.0}/s  p50 {p50_ms:>7.2} ms  p99 {p99_ms:>8.2} ms  {errors:>5} errors  CPU µs/request {:.1}",
            self.cpu_total_us()
        )
    }
}
