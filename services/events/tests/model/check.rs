//! What must hold for appends. The model shares no code with what it checks.

use std::collections::{BTreeMap, HashMap};

use events::{EventPosition, Record};

use crate::model::writer::{Asked, Attempt, Outcome};

/// An event as a reader saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) position: EventPosition,
    pub(crate) id: String,
    event_type: String,
    tags: Vec<String>,
}

impl Seen {
    pub(crate) fn new((position, record): &(EventPosition, Record)) -> Self {
        let text = [&b"{"[..], record.text()].concat();
        let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let tags = json["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap().to_owned());
        Self {
            position: *position,
            id: json["id"].as_str().unwrap().to_owned(),
            event_type: json["type"].as_str().unwrap().to_owned(),
            tags: tags.collect(),
        }
    }

    fn matches(&self, asked: &Asked) -> bool {
        (asked.types.is_empty() || asked.types.contains(&self.event_type))
            && asked.tags.iter().all(|tag| self.tags.contains(tag))
    }
}

/// Positions ascend, and no id occurs twice.
pub(crate) fn order(all: &[Seen]) {
    for pair in all.windows(2) {
        assert!(pair[0].position < pair[1].position, "{pair:?}");
    }
    let ids: HashMap<_, _> = all.iter().map(|seen| (&seen.id, seen.position)).collect();
    assert_eq!(ids.len(), all.len());
}

/// A reader that followed the log during the writes missed nothing, and saw nothing late.
pub(crate) fn followed(all: &[Seen], followed: &[Seen], tag: Option<&str>) {
    let expected: Vec<&Seen> =
        all.iter().filter(|seen| tag.is_none_or(|tag| seen.tags.iter().any(|found| found == tag))).collect();
    assert!(!expected.is_empty());
    assert_eq!(followed.iter().collect::<Vec<_>>(), expected);
}

/// Every accepted event is at the position of its answer, next to the other events of its append,
/// and its condition held; no other events exist.
pub(crate) fn accepted(all: &[Seen], attempts: &[Attempt]) {
    let places: HashMap<&str, usize> = all.iter().enumerate().map(|(at, seen)| (&*seen.id, at)).collect();
    let by_tag = by_tag(all);
    let mut count = 0;
    for attempt in attempts {
        let Outcome::Accepted(positions) = &attempt.outcome else { continue };
        let first = places[&*attempt.events[0].id];
        for ((event, position), seen) in attempt.events.iter().zip(positions).zip(&all[first..]) {
            assert_eq!((&seen.id, &seen.position), (&event.id, position));
            assert_eq!((&seen.event_type, &seen.tags), (&event.event_type, &event.tags));
            count += 1;
        }
        if let Some(asked) = &attempt.condition {
            let between = between(&by_tag[&asked.tags[0]], asked.after, all[first].position);
            let forbidden = between.iter().find(|seen| seen.matches(asked));
            assert!(forbidden.is_none(), "{} was accepted in spite of {forbidden:?}", attempt.events[0].id);
        }
    }
    // The last event marks the end.
    assert_eq!(count, all.len() - 1);
}

/// Events of a rejected append are missing, and the event that caused the rejection exists, matches
/// and is new.
pub(crate) fn rejected(all: &[Seen], attempts: &[Attempt]) {
    let places: HashMap<&str, usize> = all.iter().enumerate().map(|(at, seen)| (&*seen.id, at)).collect();
    for attempt in attempts {
        let Outcome::Rejected(position) = attempt.outcome else { continue };
        let asked = attempt.condition.as_ref().unwrap();
        let at = all.binary_search_by_key(&position, |seen| seen.position).unwrap();
        assert!(all[at].matches(asked) && position > asked.after, "{:?}", all[at]);
        assert!(attempt.events.iter().all(|event| !places.contains_key(&*event.id)));
    }
}

/// The naive condition covers the whole log: it fails as soon as anything was appended in between.
pub(crate) fn rates(all: &[Seen], attempts: &[Attempt]) {
    let sorted: Vec<&Seen> = all.iter().collect();
    let (mut asked_own, mut asked_shared, mut rejected_own, mut rejected_shared, mut naive) = (0, 0, 0, 0, 0);
    for attempt in attempts {
        let Some(asked) = &attempt.condition else { continue };
        *(if asked.own { &mut asked_own } else { &mut asked_shared }) += 1;
        match &attempt.outcome {
            Outcome::Rejected(_) => {
                *(if asked.own { &mut rejected_own } else { &mut rejected_shared }) += 1;
                naive += 1;
            }
            Outcome::Accepted(positions) => {
                naive += usize::from(!between(&sorted, asked.after, positions[0]).is_empty());
            }
        }
    }
    let asked = asked_own + asked_shared;
    println!(
        "rejected: {rejected_own} of {asked_own} on own tags, {rejected_shared} of {asked_shared} on shared tags; \
         naive: {naive} of {asked}"
    );
    assert!(asked_own > 0 && asked_shared > 0);
    assert_eq!(rejected_own, 0, "nobody else writes those tags");
    assert!(rejected_shared > 0, "nothing was contended: the test shows nothing");
    assert!(2 * (rejected_own + rejected_shared) < naive);
}

fn by_tag(all: &[Seen]) -> BTreeMap<String, Vec<&Seen>> {
    let mut by_tag = BTreeMap::<_, Vec<_>>::new();
    for seen in all {
        for tag in &seen.tags {
            by_tag.entry(tag.clone()).or_default().push(seen);
        }
    }
    by_tag
}

/// Events after `after` and before `end`.
fn between<'a, 'b>(sorted: &'b [&'a Seen], after: EventPosition, end: EventPosition) -> &'b [&'a Seen] {
    let begin = sorted.partition_point(|seen| seen.position <= after);
    let end = sorted.partition_point(|seen| seen.position < end);
    &sorted[begin..end.max(begin)]
}
