//! Which requests are copied, and in which order the copies are sent.
//!
//! Owns the choice. Leaves the bodies and the sending to the terminator. Invariant: a method that
//! the document does not name is never copied.

use fastrand::Rng;

use crate::split::{BUCKETS, Percent};

/// Chooses requests at random.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    percent: Percent,
    methods: Vec<String>,
}

/// Who gets a copy of a request that stable answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// An instance of the candidate.
    Candidate,
    /// A second instance of stable, whose reply tells noise from differences.
    Stable,
}

impl Selection {
    /// Copies `percent` of the requests with one of these methods. The share is the ghost
    /// document's, or that of a rollout's ghost stage.
    pub fn new(percent: Percent, methods: Vec<String>) -> Self {
        Self { percent, methods }
    }

    /// The copies of a request in the order of sending, or `None` when it is not copied. The order
    /// is random, so that neither version gets the warmer caches. Both are sent after the request
    /// itself.
    pub fn copies(&self, method: &str, rng: &mut Rng) -> Option<[Target; 2]> {
        let chosen = self.percent > Percent::ZERO
            && self.methods.iter().any(|named| named == method)
            && self.percent.holds(rng.u32(1..=BUCKETS));
        let mut order = [Target::Candidate, Target::Stable];
        rng.shuffle(&mut order);
        chosen.then_some(order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(percent: f64) -> Selection {
        Selection::new(Percent::try_from(percent).unwrap(), vec!["GET".to_owned()])
    }

    #[test]
    fn the_share_is_met_and_the_order_is_random() {
        let mut rng = Rng::with_seed(7);
        let copies: Vec<[Target; 2]> =
            (0..100_000).filter_map(|_| selection(10.0).copies("GET", &mut rng)).collect();
        assert!(copies.len().abs_diff(10_000) < 500, "{}", copies.len());
        let first = copies.iter().filter(|order| order[0] == Target::Candidate).count();
        assert!(first.abs_diff(copies.len() / 2) < 300, "{first} of {}", copies.len());
    }

    #[test]
    fn other_methods_are_never_copied() {
        let mut rng = Rng::with_seed(7);
        for method in ["POST", "get", ""] {
            assert_eq!(selection(100.0).copies(method, &mut rng), None);
        }
        assert!(selection(100.0).copies("GET", &mut rng).is_some());
        assert_eq!(selection(0.0).copies("GET", &mut rng), None);
    }
}
