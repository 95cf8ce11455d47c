//! The verdicts of rollouts over time, for the picture on the page of live change.
//!
//! Owns one bounded list of points for each rollout. Leaves the numbers to
//! [`change::rollout::Report`]. Invariant: at most [`POINTS_MAX`] points a rollout, none nearer to
//! the one before than [`INTERVAL_MS`] unless the state or the share has changed.

use std::collections::{BTreeMap, VecDeque};

use change::rollout::report::Shown;
use change::rollout::{Phase, Report, Verdict};
use change::split::Percent;
use serde::Serialize;

/// Points of one rollout: ten minutes when nothing but time passes.
const POINTS_MAX: usize = 600;

/// Time between two points.
const INTERVAL_MS: u64 = 1_000;

/// All rollouts that this terminator has seen since its start.
#[derive(Default)]
pub(super) struct Series(BTreeMap<String, VecDeque<Point>>);

/// What a rollout was at one time.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Point {
    /// Milliseconds since 1970.
    at_ms: u64,
    state: Phase,
    percent: Percent,
    ghost: Percent,
    stage: usize,
    verdict: Verdict,
    candidate: Shown,
    control: Shown,
}

impl Series {
    /// Adds a point to the series of each rollout in `reports`, and removes the series of all
    /// others.
    pub(super) fn note(&mut self, now_ms: u64, reports: &[Report]) {
        self.0.retain(|service, _| reports.iter().any(|report| report.service == *service));
        for report in reports {
            let points = self.0.entry(report.service.clone()).or_default();
            if let Some(last) = points.back() {
                let has_changed = (last.state, last.percent) != (report.state, report.percent);
                let is_due = now_ms.saturating_sub(last.at_ms) >= INTERVAL_MS;
                // A rollout that has ended does not change.
                if !(has_changed || is_due && report.state.is_live()) {
                    continue;
                }
            }
            if points.len() >= POINTS_MAX {
                points.pop_front();
            }
            points.push_back(Point::new(now_ms, report));
        }
    }

    /// The points of a service's rollout, the oldest first; `None` when it has none.
    pub(super) fn of(&self, service: &str) -> Option<&VecDeque<Point>> {
        self.0.get(service)
    }
}

impl Point {
    fn new(at_ms: u64, report: &Report) -> Self {
        Self {
            at_ms,
            state: report.state,
            percent: report.percent,
            ghost: report.ghost,
            stage: report.stage,
            verdict: report.verdict,
            candidate: report.candidate_counts.clone(),
            control: report.control_counts.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use change::rollout::{Command, Document, Machine};

    use super::*;

    fn machine(service: &str) -> Machine {
        let document = r#"{"stable":"1","candidate":"2","stages":[{"percent":10},{"percent":100}]}"#;
        let document: Document = serde_json::from_str(document).expect("is a rollout");
        Machine::new(service, document, 0)
    }

    #[test]
    fn points_are_a_second_apart_bounded_and_gone_with_their_rollout() {
        let (mut series, report) = (Series::default(), Report::from(machine("s").state()));
        for at_ms in (0..1_000_000).step_by(100) {
            series.note(at_ms, std::slice::from_ref(&report));
        }
        let points = series.of("s").expect("is there");
        assert_eq!((points.len(), points[0].at_ms), (POINTS_MAX, 400_000));
        assert!(points.iter().zip(points.iter().skip(1)).all(|(a, b)| b.at_ms - a.at_ms == INTERVAL_MS));
        series.note(2_000_000, &[Report::from(machine("other").state())]);
        assert!(series.of("s").is_none() && series.of("other").is_some());
    }

    #[test]
    fn a_change_is_a_point_at_once_and_an_ended_rollout_gets_no_more() {
        let (mut series, mut machine) = (Series::default(), machine("s"));
        series.note(0, &[Report::from(machine.state())]);
        machine.command(5, Command::Abort, "ann").expect("it runs");
        for at_ms in (10..100_000).step_by(100) {
            series.note(at_ms, &[Report::from(machine.state())]);
        }
        let times: Vec<_> = series.of("s").expect("is there").iter().map(|point| point.at_ms).collect();
        assert_eq!(times, [0, 10]);
    }
}
