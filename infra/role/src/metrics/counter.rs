//! The cells in which a worker counts.
//!
//! Owns: numbers that one thread writes and reads. Invariant: counting is one load and one store,
//! without a lock or an allocation.

use std::cell::Cell;

/// A count that one thread owns.
#[derive(Debug, Default)]
pub struct Counter(Cell<u64>);

impl Counter {
    /// One more.
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    /// `n` more.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.set(self.0.get().wrapping_add(n));
    }

    /// One less, for a number of things that are open now.
    #[inline]
    pub fn decrement(&self) {
        self.0.set(self.0.get().wrapping_sub(1));
    }

    /// The count.
    #[inline]
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.get()
    }
}

/// Statuses have three digits; HTTP defines none from 600 on.
const STATUSES: usize = 600;

/// Responses by status.
#[derive(Debug)]
pub struct Statuses(Box<[Counter]>);

impl Default for Statuses {
    fn default() -> Self {
        Self((0..STATUSES).map(|_| Counter::default()).collect())
    }
}

impl Statuses {
    /// Counts a response. A status of 600 and above is not counted.
    #[inline]
    pub fn count(&self, status: u16) {
        if let Some(counter) = self.0.get(usize::from(status)) {
            counter.increment();
        }
    }

    /// The statuses that occurred, ascending, each with its number of responses.
    #[must_use]
    pub fn list(&self) -> Vec<(u16, u64)> {
        let all = (0u16..).zip(self.0.iter().map(Counter::value));
        all.filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Statuses;

    #[test]
    fn statuses_that_occurred_are_listed_in_order() {
        let statuses = Statuses::default();
        for status in [404, 200, 404, 999] {
            statuses.count(status);
        }
        assert_eq!(statuses.list(), [(200, 1), (404, 2)]);
    }
}
