//! Queries for events that have one of some types and all of some tags.
//!
//! Owns checking a query and comparing it with records. `plan` decides which index answers it.
//!
//! These are the query items of dynamic consistency boundaries
//! (<https://dcb.events/specification/>): no types means any type, no tags means that no tag is
//! needed, and neither means every event.

use crate::{
    event::{Record, fingerprint},
    invalid::{Invalid, check_labels},
    limits::{QUERY_TAGS_MAX, QUERY_TYPES_MAX, TAG_BYTES_MAX, TYPE_BYTES_MAX},
};

/// A checked query.
#[derive(Clone, Debug, Default)]
pub struct Query {
    types: Vec<Label>,
    tags: Vec<Label>,
}

/// A type or a tag.
#[derive(Clone, Debug)]
pub(crate) struct Label {
    pub(crate) name: String,
    /// The form in which records store it.
    json: Vec<u8>,
    pub(crate) fingerprint: u32,
}

impl Query {
    /// Checks a query.
    ///
    /// # Errors
    /// [`Invalid`] with the field `types`, `tags` or an element of these.
    pub fn new(types: Vec<String>, tags: Vec<String>) -> Result<Self, Invalid> {
        check_labels("types", &types, QUERY_TYPES_MAX, TYPE_BYTES_MAX)?;
        check_labels("tags", &tags, QUERY_TAGS_MAX, TAG_BYTES_MAX)?;
        let labels = |names: Vec<String>| names.into_iter().map(Label::new).collect();
        Ok(Self { types: labels(types), tags: labels(tags) })
    }

    pub(crate) fn types(&self) -> &[Label] {
        &self.types
    }

    pub(crate) fn tags(&self) -> &[Label] {
        &self.tags
    }

    /// True when every event matches.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.types.is_empty() && self.tags.is_empty()
    }

    /// True when the event matches.
    #[must_use]
    pub fn matches(&self, record: &Record) -> bool {
        let type_fits = self.types.is_empty() || {
            let found = record.type_json();
            self.types.iter().any(|label| label.json == found)
        };
        type_fits && self.tags.iter().all(|label| record.tags_json().any(|found| label.json == found))
    }

    /// Fingerprints of labels of which every matching event has one: a tag if the query has tags,
    /// otherwise its types; `None` when any event may match.
    pub(crate) fn index_labels(&self) -> impl Iterator<Item = Option<u32>> {
        let labels = match &self.tags[..] {
            [first, ..] => std::slice::from_ref(first),
            [] => &self.types[..],
        };
        let all = self.is_all().then_some(None);
        labels.iter().map(|label| Some(label.fingerprint)).chain(all)
    }

    /// True when the event of an index row may match; false is certain.
    pub(crate) fn may_match(&self, fingerprints: &[u8]) -> bool {
        let (chunks, _) = fingerprints.as_chunks::<4>();
        let Some((event_type, tags)) = chunks.split_first() else { return true };
        let fits = |label: &Label, found: &[u8; 4]| label.fingerprint.to_be_bytes() == *found;
        (self.types.is_empty() || self.types.iter().any(|label| fits(label, event_type)))
            && self.tags.iter().all(|label| tags.iter().any(|found| fits(label, found)))
    }
}

impl Label {
    fn new(name: String) -> Self {
        let json = serde_json::to_vec(&name).expect("a string is always JSON");
        Self { fingerprint: fingerprint(&json), json, name }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::NewEvent;

    fn names(indexes: &std::collections::BTreeSet<u8>) -> Vec<String> {
        indexes.iter().map(|index| format!("\"{index}\\")).collect()
    }

    proptest! {
        #[test]
        fn a_match_is_one_of_the_types_and_all_of_the_tags(
            event_type in 0u8..4,
            tags in proptest::collection::btree_set(0u8..5, 0..4),
            types_asked in proptest::collection::btree_set(0u8..4, 0..3),
            tags_asked in proptest::collection::btree_set(0u8..5, 0..3),
        ) {
            let name = format!("\"{event_type}\\");
            let event = NewEvent::new("1".into(), name, names(&tags), "null").unwrap();
            let query = Query::new(names(&types_asked), names(&tags_asked)).unwrap();
            let expected = (types_asked.is_empty() || types_asked.contains(&event_type)) && tags_asked.is_subset(&tags);
            prop_assert_eq!(query.matches(&event.record), expected);
            prop_assert_eq!(query.may_match(&crate::row::fingerprints(&event)[1..]), expected);
        }
    }

    #[test]
    fn what_is_no_query_is_refused_with_field_and_limit() {
        let many: Vec<String> = (0..33).map(|n| n.to_string()).collect();
        let refused = |types: Vec<String>, tags: Vec<String>| Query::new(types, tags).unwrap_err();
        assert_eq!(refused(many.clone(), vec![]).limit, Some(32));
        assert_eq!(refused(vec![], many).limit, Some(16));
        assert_eq!(refused(vec![], vec!["a".into(), String::new()]).field, "tags[1]");
    }
}
