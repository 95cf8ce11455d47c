//! The progress of a running seed: a bar on a terminal, occasional lines elsewhere.
//!
//! Owns stderr. Invariant: stdout is for data alone (`--output -`).

use std::cell::Cell;
use std::io::{IsTerminal, Write, stderr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::place::Place;
use super::source::Source;

/// Pause between two lines when there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// The progress.
#[derive(Debug)]
pub struct Shown {
    /// `None` without a terminal.
    bar: Option<ProgressBar>,
    is_file: bool,
    length: Option<u64>,
    taken: Cell<u64>,
    reached: Cell<Place>,
    retries: Rc<Cell<u64>>,
    began: Instant,
    said: Cell<Instant>,
}

impl Shown {
    /// Begins at `place`.
    #[must_use]
    pub fn new(source: &Source, place: Place) -> Self {
        let (is_file, length) = (source.is_file(), source.length());
        let bar = stderr().is_terminal().then(|| bar(is_file, length, place));
        let now = Instant::now();
        let (taken, reached) = (Cell::new(0), Cell::new(place));
        Self { bar, is_file, length, taken, reached, retries: Rc::default(), began: now, said: now.into() }
    }

    /// Counts attempts after the first.
    pub(super) fn retries(&self) -> Rc<Cell<u64>> {
        Rc::clone(&self.retries)
    }

    /// Counts an accepted request.
    pub(super) fn taken(&self) {
        self.taken.set(self.taken.get() + 1);
    }

    /// Records that everything up to `place` is done.
    pub(super) fn reached(&self, place: Place) {
        self.reached.set(place);
        if let Some(bar) = &self.bar {
            bar.set_position(if self.is_file { place.end } else { place.number });
        }
    }

    /// Called once a second.
    pub(super) fn tick(&self) {
        match &self.bar {
            Some(bar) => bar.set_message(self.rates()),
            None if self.said.get().elapsed() >= LINE_EVERY => {
                self.said.set(Instant::now());
                let reached = self.reached.get();
                let (at, of) =
                    if self.is_file { (reached.end, " bytes") } else { (reached.number, " requests") };
                let length = self.length.map_or_else(String::new, |length| format!(" of {length}"));
                self.line(&format!("{at}{length}{of}: {}", self.rates()));
            }
            None => {}
        }
    }

    /// Prints a line above the bar.
    pub fn line(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say(line)),
            None => say(line),
        }
    }

    /// Requests that this run sent, the time they took, and the number of repetitions.
    #[must_use]
    pub fn summary(&self) -> String {
        let took = Duration::from_millis(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX));
        format!("{} requests in {}, {}", self.taken.get(), humantime::format_duration(took), self.rates())
    }

    /// Restores the terminal.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn rates(&self) -> String {
        let rate = u128::from(self.taken.get()) * 1000 / self.began.elapsed().as_millis().max(1);
        match self.retries.get() {
            0 => format!("{rate}/s"),
            retries => format!("{rate}/s, {retries} repeated"),
        }
    }
}

/// A closed stderr is no reason to stop.
pub fn say(line: &str) {
    let _ = writeln!(stderr(), "{line}");
}

fn bar(is_file: bool, length: Option<u64>, place: Place) -> ProgressBar {
    let bar = match length {
        Some(length) => ProgressBar::new(length),
        None => ProgressBar::no_length(),
    };
    let style = match (is_file, length) {
        (true, _) => "{bar:40} {bytes}/{total_bytes}, {eta} left, {msg}",
        (false, Some(_)) => "{bar:40} {human_pos}/{human_len}, {eta} left, {msg}",
        (false, None) => "{spinner} {human_pos} lines, {msg}",
    };
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    let bar = bar.with_position(if is_file { place.end } else { place.number });
    // The rate is that of this run only.
    bar.reset_eta();
    bar
}
