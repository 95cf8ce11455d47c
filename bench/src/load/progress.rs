//! The progress line on stderr.
//!
//! Owns one counter per thread, and their display. Invariant: a thread writes only its own counter.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::plan::Plan;

/// The progress of one thread.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Counters {
    responses: AtomicU64,
    failures: AtomicU64,
}

impl Counters {
    pub(super) fn responded(&self) {
        // There is one writer, so a load and a store are enough.
        self.responses.store(self.responses.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failures.store(self.failures.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

/// The progress line.
pub(super) struct Line {
    bar: ProgressBar,
    counters: Arc<[Counters]>,
    started: Instant,
    last: (Instant, u64),
    by_count: bool,
}

impl Line {
    pub(super) fn new(plan: &Plan, counters: &Arc<[Counters]>) -> Self {
        let (length, by_count) = match (plan.duration, plan.requests) {
            (Some(duration), _) => (u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), false),
            (None, requests) => (requests.unwrap_or(0), true),
        };
        let target = if plan.quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(length), target);
        bar.set_style(
            ProgressStyle::with_template("{elapsed:>4} {bar:30} {msg}")
                .expect("a constant template is valid"),
        );
        let now = Instant::now();
        Self { bar, counters: Arc::clone(counters), started: now, last: (now, 0), by_count }
    }

    pub(super) fn show(&mut self) {
        let sum = |of: fn(&Counters) -> &AtomicU64| -> u64 {
            self.counters.iter().map(|counters| of(counters).load(Ordering::Relaxed)).sum()
        };
        let responses = sum(|counters| &counters.responses);
        let failures = sum(|counters| &counters.failures);
        let now = Instant::now();
        let (before, had) = self.last;
        let seconds = now.duration_since(before).as_secs_f64().max(1e-3);
        let rate = f64::from(u32::try_from(responses - had).unwrap_or(u32::MAX)) / seconds;
        self.last = (now, responses);
        let position = if self.by_count {
            responses
        } else {
            u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
        };
        self.bar.set_position(position);
        self.bar.set_message(format!("{responses} responses, {rate:.0}/s now, {failures} errors"));
    }

    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
