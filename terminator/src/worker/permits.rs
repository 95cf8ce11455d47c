//! Permits bound the requests that a worker has in flight.
//!
//! Owns the count. Leaves the response to a refused request to `rescue`. Invariant: the count is
//! the number of [`Permit`]s that exist, however their requests end.

use std::cell::Cell;
use std::rc::Rc;

use crate::rescue::Refusal;

/// The permits of one worker. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Permits {
    in_flight: Rc<Cell<usize>>,
    limit: usize,
}

impl Permits {
    /// At most `limit` at once.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { in_flight: Rc::default(), limit }
    }

    /// Takes a permit, to be held as long as the request is in flight.
    ///
    /// # Errors
    /// [`Refusal::Shedding`] when every permit is taken.
    #[inline]
    pub fn take(&self) -> Result<Permit, Refusal> {
        let taken = self.in_flight.get();
        if taken >= self.limit {
            return Err(Refusal::Shedding { limit: self.limit });
        }
        self.in_flight.set(taken + 1);
        Ok(Permit { in_flight: Rc::clone(&self.in_flight) })
    }

    /// Permits taken now.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.get()
    }
}

/// The right to have one request in flight; dropping it returns it.
#[derive(Debug)]
pub struct Permit {
    in_flight: Rc<Cell<usize>>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.in_flight.set(self.in_flight.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_that_is_dropped_can_be_taken_again() {
        let permits = Permits::new(2);
        let (first, _second) = (permits.take().unwrap(), permits.take().unwrap());
        assert_eq!(permits.take().unwrap_err(), Refusal::Shedding { limit: 2 });
        drop(first);
        assert_eq!(permits.in_flight(), 1);
        assert!(permits.take().is_ok());
    }
}
