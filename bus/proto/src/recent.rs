//! Which events were seen lately: the same event may come by several ways (three terminators relay it), and is taken once.
//!
//! Only a copy that comes by *another* pipe is one: a sender that numbers its events carelessly loses none of them. Nor
//! do senders that do not number them at all: the contract asks for no id on an event.

use std::collections::{HashMap, VecDeque};

use crate::envelope::Correlation;
use crate::socket::PipeId;

/// Events remembered. Copies of one event arrive within milliseconds of each other; this is seconds of a busy bus.
const REMEMBERED: usize = 8192;

/// The last `REMEMBERED` correlation ids of events.
#[derive(Debug, Default)]
pub struct Recent {
    seen: HashMap<Correlation, PipeId>,
    order: VecDeque<Correlation>,
}

impl Recent {
    /// Remembers `id`; false when it came by another pipe before.
    pub fn is_new(&mut self, id: Correlation, pipe: PipeId) -> bool {
        if id == Correlation::default() {
            return true;
        }
        if let Some(&first) = self.seen.get(&id) {
            return first == pipe;
        }
        self.seen.insert(id, pipe);
        self.order.push_back(id);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::{Origin, RequestId};

    const HERE: PipeId = PipeId { index: 0, generation: 0 };
    const THERE: PipeId = PipeId { index: 1, generation: 0 };

    #[test]
    fn an_event_is_taken_by_the_way_it_came_first_and_memory_is_bounded() {
        let mut recent = Recent::default();
        let id = |n| Correlation { origin: Origin(1), request: RequestId(n) };
        for n in 0..3 * REMEMBERED as u64 {
            assert!(recent.is_new(id(n), HERE));
            assert!(!recent.is_new(id(n), THERE));
            assert!(recent.is_new(id(n), HERE), "the same pipe does not copy");
        }
        assert_eq!((recent.seen.len(), recent.order.len()), (REMEMBERED, REMEMBERED));
        assert!(recent.is_new(id(0), THERE), "forgotten by now");
    }

    #[test]
    fn events_without_an_id_are_never_taken_for_copies() {
        let mut recent = Recent::default();
        assert!(recent.is_new(Correlation::default(), HERE));
        assert!(recent.is_new(Correlation::default(), THERE), "another guest's event");
    }
}
