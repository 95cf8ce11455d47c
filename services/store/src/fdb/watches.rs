//! The number of waiting watches. FoundationDB limits it too, but reports that only through the
//! watch, after the commit.
//!
//! Invariant: a place is released exactly once, when the watch is dropped.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::{
    error::{CallerError, Error},
    limits,
};

/// The places of a store, [`limits::WATCHES_MAX`] of them.
#[derive(Default)]
pub(crate) struct WatchPlaces {
    taken: Arc<AtomicUsize>,
}

/// A taken place.
pub(crate) struct WatchPlace {
    taken: Arc<AtomicUsize>,
}

impl WatchPlaces {
    /// Takes a place.
    ///
    /// # Errors
    /// [`CallerError::TooManyWatches`].
    pub(crate) fn take(&self) -> Result<WatchPlace, Error> {
        if self.taken.fetch_add(1, Ordering::AcqRel) >= limits::WATCHES_MAX {
            self.taken.fetch_sub(1, Ordering::AcqRel);
            return Err(CallerError::TooManyWatches.into());
        }
        Ok(WatchPlace { taken: Arc::clone(&self.taken) })
    }
}

impl Drop for WatchPlace {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_end_and_are_given_back() {
        let places = WatchPlaces::default();
        let mut taken: Vec<_> = (0..limits::WATCHES_MAX).map(|_| places.take().unwrap()).collect();
        assert!(matches!(places.take(), Err(Error::Caller(CallerError::TooManyWatches))));
        taken.pop();
        taken.push(places.take().unwrap());
        assert!(places.take().is_err());
    }
}
