//! What appends of one transaction have to do with one another.
//!
//! Owns the events that the transaction will write, and whether an append depends on them. Ids and
//! conditions are checked against the store before, in `append`.
//!
//! Invariant: every accepted append would also be accepted if all accepted ones before it were in
//! the store already. So the appends of a transaction are as good as appended one after the other.

use std::collections::{HashMap, HashSet};

use store::limits::STAMP_BYTES;

use crate::{
    event::{NewEvent, fingerprint},
    position::EventPosition,
    query::Query,
};

/// What becomes of an append when the transaction commits.
pub(crate) enum Decision {
    /// All its events are in the log then.
    Accepted(Placed),
    /// It depends on an earlier append of the same transaction, so it belongs into a later one.
    Dependent,
}

/// The places of an append's events.
pub(crate) struct Placed {
    /// Positions of events that were appended earlier.
    known: Vec<Option<EventPosition>>,
    /// Index in the commit of the first new event; the others follow it.
    first: u16,
}

/// The new events of a transaction.
#[derive(Default)]
pub(crate) struct Together<'a> {
    /// In the order of their positions.
    pub(crate) events: Vec<&'a NewEvent>,
    ids: HashSet<&'a str>,
    /// Indexes of events by fingerprints of their type and tags. Holds the first `indexed` events,
    /// because only conditions need it.
    by_label: HashMap<u32, Vec<usize>>,
    indexed: usize,
}

impl<'a> Together<'a> {
    /// Accepts an append whose condition holds in the store, unless it depends on earlier ones.
    /// `known` are the positions of its events that are in the store.
    pub(crate) fn decide(
        &mut self,
        events: &'a [NewEvent],
        condition: Option<&Query>,
        known: Vec<Option<EventPosition>>,
    ) -> Decision {
        let is_new = |(event, known): (&'a NewEvent, &Option<_>)| known.is_none().then_some(event);
        let new: Vec<&NewEvent> = events.iter().zip(&known).filter_map(is_new).collect();
        let repeats = |event: &&NewEvent| self.ids.contains(&*event.id);
        if !new.is_empty() && (new.iter().any(repeats) || condition.is_some_and(|query| self.matches(query)))
        {
            return Decision::Dependent;
        }
        let first = u16::try_from(self.events.len()).expect("a transaction has at most 1 000 events");
        self.ids.extend(new.iter().map(|event| &*event.id));
        self.events.extend(new);
        Decision::Accepted(Placed { known, first })
    }

    /// True when one of the events matches.
    fn matches(&mut self, query: &Query) -> bool {
        for (index, event) in self.events.iter().enumerate().skip(self.indexed) {
            for label in event.record.labels() {
                self.by_label.entry(fingerprint(label)).or_default().push(index);
            }
        }
        self.indexed = self.events.len();
        query.index_labels().any(|label| match label {
            None => !self.events.is_empty(),
            Some(label) => self.by_label.get(&label).is_some_and(|indexes| {
                indexes.iter().any(|index| query.matches(&self.events[*index].record))
            }),
        })
    }
}

impl Placed {
    /// The positions of all events after the commit `stamp`.
    pub(crate) fn positions(&self, stamp: [u8; STAMP_BYTES]) -> Vec<EventPosition> {
        let mut index = self.first;
        let position = |known: &Option<EventPosition>| {
            known.unwrap_or_else(|| {
                let position = EventPosition::new(stamp, index);
                index += 1;
                position
            })
        };
        self.known.iter().map(position).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str, tags: &[&str]) -> Vec<NewEvent> {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        vec![NewEvent::new(id.into(), "Type".into(), tags, "null").unwrap()]
    }

    fn query(tags: &[&str]) -> Query {
        Query::new(vec![], tags.iter().map(|tag| (*tag).to_owned()).collect()).unwrap()
    }

    #[test]
    fn an_append_depends_on_an_earlier_one_that_matches_its_condition_or_has_its_id() {
        let (a, b, c) = (event("a", &["x", "y"]), event("b", &["x"]), event("c", &["z"]));
        let mut together = Together::default();
        let mut is_accepted = |events, condition: Option<Query>| {
            let decision = together.decide(events, condition.as_ref(), vec![None]);
            matches!(decision, Decision::Accepted(_))
        };
        assert!(is_accepted(&a, Some(query(&[]))), "nothing is before the first");
        assert!(!is_accepted(&b, Some(query(&["x"]))));
        assert!(!is_accepted(&b, Some(query(&[]))));
        assert!(!is_accepted(&a, None), "it has the id of the first");
        assert!(is_accepted(&b, Some(query(&["x", "z"]))), "no event has both tags");
        assert!(!is_accepted(&c, Some(Query::new(vec!["Type".into()], vec![]).unwrap())));
        assert!(is_accepted(&c, None));
    }

    #[test]
    fn new_events_are_placed_one_after_the_other() {
        let (a, b) = (event("a", &[]), event("b", &[]));
        let both = [event("c", &[]), event("d", &[])].concat();
        let mut together = Together::default();
        let old = EventPosition::new([1; STAMP_BYTES], 9);
        let mut positions = |events, known| match together.decide(events, None, known) {
            Decision::Accepted(placed) => placed.positions([2; STAMP_BYTES]),
            Decision::Dependent => panic!("no append has a condition"),
        };
        let new = |index| EventPosition::new([2; STAMP_BYTES], index);
        assert_eq!(positions(&a, vec![None]), [new(0)]);
        assert_eq!(positions(&both, vec![Some(old), None]), [old, new(1)]);
        assert_eq!(positions(&b, vec![None]), [new(2)]);
    }
}
