//! What is counted of the tasks that an instance runs.
//!
//! Owns the counts, and their place in a picture; the names are in the table of `role::metrics`.
//! Invariant: a run is counted when it begins, and again when it fails.

use std::cell::Cell;

use role::metrics::{Counter, Picture, TaskPicture};

/// One task's counts since the start of the worker.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) runs: Counter,
    /// Errors, panics, and runs that lost their lease.
    pub(super) failures: Counter,
    missed: Cell<u64>,
}

impl Tally {
    pub(super) fn missed(&self, times: u64) {
        self.missed.set(self.missed.get() + times);
    }

    pub(super) fn add_to(&self, name: &str, picture: &mut Picture) {
        picture.tasks.push(TaskPicture {
            name: name.to_owned(),
            runs: self.runs.value(),
            failures: self.failures.value(),
            missed: self.missed.get(),
        });
    }
}
