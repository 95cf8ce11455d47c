//! How far a seed is done without a gap, although answers arrive in any order.
//!
//! Owns the outstanding requests. Invariant: every request up to [`Front::place`] has its answer;
//! at most [`UNDER_WAY_MAX`] places after it are remembered.

use std::collections::VecDeque;

use super::place::Place;

/// How many requests one slow subject (a conversation, a feed) may lag behind all others.
pub const UNDER_WAY_MAX: usize = 64 * 1024;

/// The completed requests, and the outstanding ones after them.
#[derive(Debug)]
pub struct Front {
    place: Place,
    /// Requests before the first of `window`.
    base: u64,
    window: VecDeque<(Place, Option<Answer>)>,
    open: usize,
    bad: u64,
}

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The request was accepted.
    Taken,
    /// The request was skipped.
    Bad,
}

impl Front {
    /// A front where everything up to `place` is done and `bad` requests were skipped.
    #[must_use]
    pub fn new(place: Place, bad: u64) -> Self {
        Self { place, base: 0, window: VecDeque::new(), open: 0, bad }
    }

    /// Adds an outstanding request; returns the number to pass to [`Front::done`].
    pub fn begin(&mut self, place: Place) -> u64 {
        self.window.push_back((place, None));
        self.open += 1;
        self.base + self.window.len() as u64 - 1
    }

    /// Records the answer of a request.
    pub fn done(&mut self, number: u64, answer: Answer) {
        let at = usize::try_from(number - self.base).expect("is in the window");
        let known = self.window[at].1.replace(answer);
        assert!(known.is_none(), "a request has one answer");
        self.open -= 1;
        while let Some((place, answer)) = self.window.pop_front_if(|(_, answer)| answer.is_some()) {
            self.place = place;
            self.base += 1;
            self.bad += u64::from(answer == Some(Answer::Bad));
        }
    }

    /// Skipped requests up to [`Front::place`].
    #[must_use]
    pub fn bad(&self) -> u64 {
        self.bad
    }

    /// Everything up to this place is done.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place
    }

    /// Outstanding requests.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open
    }

    /// True when another request may begin.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.window.len() < UNDER_WAY_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Front, Place, UNDER_WAY_MAX};

    fn place(number: u64) -> Place {
        Place { number, end: number * 10 }
    }

    #[test]
    fn front_stays_before_the_first_that_is_under_way() {
        let mut front = Front::new(place(5), 2);
        let numbers: Vec<u64> = (6..10).map(|number| front.begin(place(number))).collect();
        front.done(numbers[1], Answer::Taken);
        front.done(numbers[2], Answer::Bad);
        assert_eq!((front.place(), front.open(), front.bad()), (place(5), 2, 2));
        front.done(numbers[0], Answer::Taken);
        assert_eq!((front.place(), front.open(), front.bad()), (place(8), 1, 3));
        front.done(numbers[3], Answer::Bad);
        assert_eq!((front.place(), front.open(), front.bad()), (place(9), 0, 4));
    }

    #[test]
    fn window_is_bounded_by_the_slowest() {
        let mut front = Front::new(Place::default(), 0);
        let slow = front.begin(place(1));
        for number in 2..=UNDER_WAY_MAX as u64 {
            let number = front.begin(place(number));
            front.done(number, Answer::Taken);
        }
        assert!(!front.has_room());
        front.done(slow, Answer::Taken);
        assert!(front.has_room() && front.place() == place(UNDER_WAY_MAX as u64));
    }
}
