//! From rounds to one figure: the median, and the lowest and highest round.

use std::collections::BTreeMap;

use super::rows::{Row, Rows};
use crate::figures::median;

/// The rounds of one system at one number of connections.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Median {
    pub(super) requests_per_second: f64,
    /// Lowest and highest round.
    pub(super) spread: (f64, f64),
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) errors: u64,
    pub(super) cpu_us: BTreeMap<String, f64>,
    pub(super) cpu_total_us: f64,
}

impl Median {
    /// `None` when the system was not measured.
    pub(super) fn of(rows: &Rows, system: &str, connections: u32) -> Option<Self> {
        let of_system = |row: &&Row| row.system == system && row.connections == connections;
        let rounds: Vec<&Row> = rows.rows.iter().filter(of_system).collect();
        let first = rounds.first()?;
        let over = |value: &dyn Fn(&Row) -> f64| median(rounds.iter().map(|row| value(row)).collect());
        let rates = || rounds.iter().map(|row| row.requests_per_second);
        let of_process = |name: &String| over(&|row: &Row| row.cpu_us.get(name).copied().unwrap_or_default());
        Some(Self {
            requests_per_second: over(&|row| row.requests_per_second),
            spread: (rates().fold(f64::INFINITY, f64::min), rates().fold(0.0, f64::max)),
            p50_ms: over(&|row| row.p50_ms),
            p99_ms: over(&|row| row.p99_ms),
            errors: rounds.iter().map(|row| row.errors).sum(),
            cpu_us: first.cpu_us.keys().map(|name| (name.clone(), of_process(name))).collect(),
            cpu_total_us: over(&Row::cpu_total_us),
        })
    }
}
