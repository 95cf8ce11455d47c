//! Recognises events that were received before: the same event may come by several pipes (three
//! terminators relay it), and only the first copy counts.
//!
//! Only a copy that comes by *another* pipe is a duplicate, so a sender that reuses ids loses no
//! event. Events without an id are never duplicates: PROTOCOL.md does not require an id. Invariant:
//! the last 8192 ids are known, whatever their values. If one were forgotten earlier, nodes that
//! relay to each other in a ring would circulate its event endlessly.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use crate::envelope::Correlation;
use crate::socket::Remote;

/// Number of events remembered. Copies of one event arrive within milliseconds of each other, and a
/// busy bus carries fewer events in that time.
const REMEMBERED: usize = 8192;
/// Number of hash chains: twice the number of events, so that most chains are empty or have one
/// element.
const CHAINS: usize = 2 * REMEMBERED;

/// The last 8192 correlation ids of events, in a ring whose entries are chained by hash. Ids are
/// numbered in order of arrival. A number that is too old ends its chain, so no entry ever has to
/// be unlinked.
#[derive(Debug)]
pub struct Recent {
    hash: FixedState,
    /// The number of the next id.
    next: u64,
    /// Entries by number modulo the ring's length; empty until the first event.
    ring: Vec<Seen>,
    /// The newest number in each chain.
    chains: Vec<u64>,
}

#[derive(Clone, Debug)]
struct Seen {
    id: Correlation,
    /// The pipe that it came by, and the worker that has this pipe.
    way: Remote,
    /// The next older number in the same chain.
    older: u64,
}

impl Recent {
    /// An empty ring. `seed` prevents senders from choosing ids that all fall into one chain.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // Number 0 ends empty chains, so it must be too old from the beginning.
        let next = REMEMBERED as u64 + 1;
        Self { hash: FixedState::with_seed(seed), next, ring: Vec::new(), chains: Vec::new() }
    }

    /// Remembers `id`. False when it came by another pipe before.
    #[inline]
    pub fn is_new(&mut self, id: Correlation, way: Remote) -> bool {
        if id == Correlation::default() {
            return true;
        }
        if self.ring.is_empty() {
            let nothing = Seen { id: Correlation::default(), way, older: 0 };
            (self.ring, self.chains) = (vec![nothing; REMEMBERED], vec![0; CHAINS]);
        }
        let chain = self.chain(id);
        let newest = self.chains[chain];
        let mut number = newest;
        while self.next - number <= REMEMBERED as u64 {
            let seen = &self.ring[place(number)];
            if seen.id == id {
                return seen.way == way;
            }
            number = seen.older;
        }
        self.ring[place(self.next)] = Seen { id, way, older: newest };
        self.chains[chain] = self.next;
        self.next += 1;
        true
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the lower bits are what is wanted")]
    fn chain(&self, id: Correlation) -> usize {
        self.hash.hash_one(id) as usize % CHAINS
    }
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the lower bits are what is wanted")]
const fn place(number: u64) -> usize {
    number as usize % REMEMBERED
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::{Origin, RequestId};
    use crate::socket::PipeId;

    const HERE: Remote = Remote { worker: 0, pipe: PipeId { index: 0, generation: 0 } };
    const THERE: Remote = Remote { worker: 0, pipe: PipeId { index: 1, generation: 0 } };

    /// Series of ids with steps that are difficult for a set-associative table or for folded
    /// numbers, and one series of random ids.
    fn numberings(seed: u64) -> Vec<Vec<u64>> {
        const STEPS: [u64; 10] =
            [1, 2, 3, 2047, 2049, 1 << 13, 1 << 22 | 1, 1 << 33 | 1, 1 << 40, 1 << 56 | 1 << 28];
        let len = 3 * REMEMBERED as u64;
        let mut rng = fastrand::Rng::with_seed(seed);
        let counted = STEPS.iter().map(|step| (1..=len).map(|n| n.wrapping_mul(*step)).collect());
        counted.chain(std::iter::once((0..len).map(|_| rng.u64(1..)).collect())).collect()
    }

    #[test]
    fn an_event_is_accepted_only_from_its_first_pipe_until_8192_others_have_come() {
        let seed = std::env::var("SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
        println!("SEED={seed}");
        for numbers in numberings(seed) {
            let name = format!("{:?}...", &numbers[..2]);
            let mut recent = Recent::new(seed);
            let ids: Vec<_> = (0..3)
                .cycle()
                .zip(numbers)
                .map(|(origin, n)| Correlation { origin: Origin(origin), request: RequestId(n) })
                .collect();
            for (at, id) in ids.iter().enumerate() {
                assert!(recent.is_new(*id, HERE), "{name}: {at}");
                assert!(!recent.is_new(*id, THERE), "{name}: {at}");
                assert!(recent.is_new(*id, HERE), "{name}: the same pipe brings no copies");
                if let Some(before) = (at + 1).checked_sub(REMEMBERED) {
                    assert!(!recent.is_new(ids[before], THERE), "{name}: {before} at {at}");
                }
            }
            assert!(recent.is_new(ids[0], THERE), "{name}: forgotten by now");
            assert_eq!((recent.ring.len(), recent.chains.len()), (REMEMBERED, CHAINS));
        }
    }

    #[test]
    fn events_without_an_id_are_never_taken_for_copies() {
        let mut recent = Recent::new(1);
        assert!(recent.is_new(Correlation::default(), HERE));
        assert!(recent.is_new(Correlation::default(), THERE), "another guest's event");
    }
}
