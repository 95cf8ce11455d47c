//! How far behind the head a consumer takes items, so that consumers do not fight over the head.
//!
//! FoundationDB's high-contention allocator lets each client choose at random within a window that
//! grows with use, so that few choices collide
//! (`fdbclient/HighContentionAllocator.actor.cpp` in apple/foundationdb). Here the window follows
//! the collisions themselves: it doubles with each and shrinks by a part with each success, so that
//! a consumer that is alone takes the head, in order, and reads no more than it takes.
//!
//! Owns one handle's window. Invariant: `portions` is between 1 and [`PORTIONS_MAX`].

use std::cell::{Cell, RefCell};

/// Most portions in a window. With so many, the choices of 8 consumers collide in one of nine
/// transactions at most.
const PORTIONS_MAX: f64 = 64.0;

/// Most rows of a window: bounds what a pop reads. A row has some 50 bytes.
const ROWS_MAX: usize = 2_048;

/// Part by which a success shrinks the window. The window is steady when about one transaction in
/// 23 collides.
const SHRINK: f64 = 1.0 / 32.0;

/// The window of one consumer.
#[derive(Debug)]
pub(super) struct Spread {
    /// The window's size, in portions of what one call takes.
    portions: Cell<f64>,
    rng: RefCell<fastrand::Rng>,
}

impl Spread {
    pub(super) fn new(rng: fastrand::Rng) -> Self {
        Self { portions: Cell::new(1.0), rng: RefCell::new(rng) }
    }

    /// Rows to read in order to take `wanted`.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and PORTIONS_MAX")]
    pub(super) fn rows(&self, wanted: usize) -> usize {
        (self.portions.get() as usize * wanted).clamp(wanted, ROWS_MAX.max(wanted))
    }

    /// Where to begin to take `wanted` of `found` rows.
    pub(super) fn begin(&self, found: usize, wanted: usize) -> usize {
        self.rng.borrow_mut().usize(..=found.saturating_sub(wanted))
    }

    /// Another consumer took one of the items first.
    pub(super) fn collided(&self) {
        self.portions.set((self.portions.get() * 2.0).min(PORTIONS_MAX));
    }

    pub(super) fn succeeded(&self) {
        self.portions.set((self.portions.get() * (1.0 - SHRINK)).max(1.0));
    }

    /// Calls `draw` with the handle's randomness.
    pub(super) fn with_rng<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.rng.borrow_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_that_is_alone_takes_the_head_and_reads_no_more() {
        let spread = Spread::new(fastrand::Rng::with_seed(1));
        assert_eq!((spread.rows(1), spread.rows(10)), (1, 10));
        assert_eq!((spread.begin(0, 1), spread.begin(1, 1), spread.begin(5, 10)), (0, 0, 0));
    }

    #[test]
    fn the_window_grows_with_collisions_and_shrinks_with_successes() {
        let spread = Spread::new(fastrand::Rng::with_seed(1));
        (0..100).for_each(|_| spread.collided());
        assert_eq!((spread.rows(1), spread.rows(100), spread.rows(5_000)), (64, ROWS_MAX, 5_000));
        let begins: std::collections::BTreeSet<_> = (0..1000).map(|_| spread.begin(64, 1)).collect();
        assert_eq!(begins.len(), 64);
        (0..200).for_each(|_| spread.succeeded());
        assert_eq!(spread.rows(1), 1);
    }
}
