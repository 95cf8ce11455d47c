//! Which events were seen lately: the same event may come by several ways (three terminators relay it), and is taken once.
//!
//! Only a copy that comes by *another* pipe is one: a sender that numbers its events carelessly loses none of them. Nor
//! do senders that do not number them at all: the contract asks for no id on an event.

use crate::envelope::{Correlation, Origin, RequestId};
use crate::socket::PipeId;

/// Ids that fall together and are remembered all the same; of more the oldest is forgotten.
const WAYS: usize = 4;
const SETS_LOG2: u32 = 11;

/// The last 8192 correlation ids of events, about: ids fall into sets, and a set remembers its last [`WAYS`]. Consecutive ids of
/// one sender fall into all sets in turn. Copies of one event arrive within milliseconds of each other.
#[derive(Debug, Default)]
pub struct Recent {
    /// Empty until the first event.
    sets: Vec<Set>,
}

#[derive(Clone, Debug)]
struct Set {
    ids: [Correlation; WAYS],
    /// Who brought them.
    pipes: [PipeId; WAYS],
    /// The oldest one.
    next: usize,
}

/// What no event is remembered by: it is no id.
const NONE: Correlation = Correlation { origin: Origin(0), request: RequestId(0) };

impl Set {
    const EMPTY: Self =
        Self { ids: [NONE; WAYS], pipes: [PipeId { index: 0, generation: 0 }; WAYS], next: 0 };
}

impl Recent {
    /// Remembers `id`; false when it came by another pipe before.
    #[inline]
    pub fn is_new(&mut self, id: Correlation, pipe: PipeId) -> bool {
        if id == NONE {
            return true;
        }
        if self.sets.is_empty() {
            self.sets = vec![Set::EMPTY; 1 << SETS_LOG2];
        }
        let set = &mut self.sets[place(id)];
        if let Some(known) = set.ids.iter().position(|known| *known == id) {
            return set.pipes[known] == pipe;
        }
        set.ids[set.next] = id;
        set.pipes[set.next] = pipe;
        set.next = (set.next + 1) % WAYS;
        true
    }
}

/// The set of `id`. Every 2048 consecutive ids fall into all sets, one next to the other; ids in larger steps are folded.
#[inline]
const fn place(id: Correlation) -> usize {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    let (request, mut folded) = (id.request.0, id.origin.0.wrapping_mul(GOLDEN) >> (u64::BITS - SETS_LOG2));
    let mut shift = 0;
    while shift < u64::BITS {
        folded ^= request >> shift;
        shift += SETS_LOG2;
    }
    (folded & ((1 << SETS_LOG2) - 1)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: PipeId = PipeId { index: 0, generation: 0 };
    const THERE: PipeId = PipeId { index: 1, generation: 0 };
    const REMEMBERED: u64 = (WAYS << SETS_LOG2) as u64;

    #[test]
    fn an_event_is_taken_by_the_way_it_came_first_and_is_forgotten_one_day() {
        for step in [1, 2, 1 << 11, 1 << 40] {
            let mut recent = Recent::default();
            let id = |n| Correlation { origin: Origin(1), request: RequestId(n * step + 1) };
            for n in 0..3 * REMEMBERED {
                assert!(recent.is_new(id(n), HERE));
                assert!(!recent.is_new(id(n), THERE));
                assert!(recent.is_new(id(n), HERE), "the same pipe does not copy");
                if let Some(before) = n.checked_sub(REMEMBERED / 2) {
                    assert!(!recent.is_new(id(before), THERE), "{n} in steps of {step}");
                }
            }
            assert!(recent.is_new(id(0), THERE), "forgotten by now");
        }
    }

    #[test]
    fn ids_at_random_are_remembered_for_some_hundreds_of_events() {
        let seed = std::env::var("SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
        println!("SEED={seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        let ids: Vec<_> = (0..50_000)
            .map(|_| Correlation { origin: Origin(rng.u64(1..4)), request: RequestId(rng.u64(..)) })
            .collect();
        let mut recent = Recent::default();
        let mut forgotten = 0;
        for (at, id) in ids.iter().enumerate() {
            assert!(recent.is_new(*id, HERE));
            forgotten += usize::from(at >= 256 && recent.is_new(ids[at - 256], THERE));
        }
        // Four others of 256 in one set of 2048: one in 100 000.
        assert!(forgotten < 20, "{forgotten} of {} were forgotten", ids.len());
    }

    #[test]
    fn events_without_an_id_are_never_taken_for_copies() {
        let mut recent = Recent::default();
        assert!(recent.is_new(Correlation::default(), HERE));
        assert!(recent.is_new(Correlation::default(), THERE), "another guest's event");
    }
}
