//! The number of pipes that a process may have, counted over all its workers.
//!
//! Each pipe costs some KiB and up to three file descriptors. HTTP clients, the store and the admin
//! listener need descriptors as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Resource, getrlimit};

/// Upper bound of the pipes of one process, however many files it may open.
const PIPES_MAX: usize = 4096;
/// Files that the process may open, per pipe.
const FILES_PER_PIPE: usize = 8;
/// Lower bound of the pipes, however few files the process may open.
const PIPES_MIN: usize = 16;

/// The places for pipes of one process.
#[derive(Debug)]
pub(crate) struct Places {
    taken: AtomicUsize,
    max: usize,
}

impl Places {
    /// `max` places; `None` derives the number from the limit of open files.
    pub(crate) fn new(max: Option<usize>) -> Self {
        let files = || usize::try_from(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX));
        let max = max.unwrap_or_else(|| places_for(files().unwrap_or(usize::MAX)));
        Self { taken: AtomicUsize::new(0), max }
    }

    pub(crate) const fn max(&self) -> usize {
        self.max
    }

    /// True when a place is free.
    pub(crate) fn has_room(&self) -> bool {
        self.taken.load(Ordering::Relaxed) < self.max
    }

    /// Takes a place. It never fails, because pipes that this side dials may exceed the limit.
    pub(crate) fn take(self: &Arc<Self>) -> Place {
        self.taken.fetch_add(1, Ordering::Relaxed);
        Place(Arc::clone(self))
    }
}

fn places_for(files: usize) -> usize {
    (files / FILES_PER_PIPE).clamp(PIPES_MIN, PIPES_MAX)
}

/// A taken place. Dropping it frees the place.
#[derive(Debug)]
pub(crate) struct Place(Arc<Places>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_of_the_files_are_left_to_others() {
        assert_eq!([100, 1000, 20_000, usize::MAX].map(places_for), [16, 125, 2500, 4096]);
    }

    #[test]
    fn a_place_is_free_again_when_its_pipe_has_ended() {
        let places = Arc::new(Places::new(Some(1)));
        let place = places.take();
        assert!(!places.has_room());
        let beyond = places.take();
        drop(place);
        assert!(!places.has_room(), "one is still taken");
        drop(beyond);
        assert!(places.has_room());
    }
}
