//! The table of the parts of a member's page, and of the services that provide them.
//!
//! Another source is one more row. An optional source whose route no service ever claimed is not
//! part of the page.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashMap;
use std::ops::Range;

use serde_json::value::RawValue;
use service_host::bus::Bus;

/// One question that a member's page asks, and the parts that its answer contains.
#[derive(Debug)]
pub(crate) struct Source {
    /// The path before the member's id.
    before: &'static str,
    /// The path after the member's id.
    after: &'static str,
    /// True when the page cannot be shown without this source.
    pub(crate) essential: bool,
    pub(crate) parts: &'static [Part],
}

/// One part of a member's page: an answer of one service, or a member of that answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// The part's name in the answer.
    pub(crate) name: &'static str,
    /// The service that provides the part.
    pub(crate) service: &'static str,
    /// The member of the service's answer that is the part; `None` means the whole answer.
    member: Option<&'static str>,
}

/// Where each part lies in an answer; `None` when it is missing or not JSON.
pub(crate) type Places = [Option<(u32, u32)>; PARTS];

/// Parts of a member's page.
pub(crate) const PARTS: usize = 3;

/// The sources, the essential one first.
pub(crate) static SOURCES: [Source; 2] = [
    Source {
        before: "/profiles/",
        after: "",
        essential: true,
        parts: &[Part { name: "profile", service: "profile", member: None }],
    },
    Source {
        before: "/feeds/",
        after: "/head?limit=20",
        essential: false,
        parts: &[
            Part { name: "feed", service: "feed", member: Some("feed") },
            Part { name: "unread", service: "feed", member: Some("unread") },
        ],
    },
];

impl Source {
    /// The path for a member; `id` is percent-encoded.
    pub(crate) fn path(&self, id: &str) -> String {
        let mut path = String::with_capacity(self.before.len() + id.len() + self.after.len());
        path.push_str(self.before);
        path.push_str(id);
        path.push_str(self.after);
        path
    }

    /// True when a pattern could match a path of this source: compares literals up to the first
    /// parameter of either.
    fn may_match(&self, pattern: &str) -> bool {
        match pattern.split_once('{') {
            Some((literal, _)) => literal.starts_with(self.before) || self.before.starts_with(literal),
            None => pattern.starts_with(self.before),
        }
    }

    /// Where each part's JSON lies in the service's answer.
    pub(crate) fn places(&self, answer: &[u8]) -> Places {
        let mut places = Places::default();
        if self.parts.iter().all(|part| part.member.is_none()) {
            if serde_json::from_slice::<&RawValue>(answer).is_ok() {
                places[..self.parts.len()].fill(place(0..answer.len()));
            }
            return places;
        }
        // Parsing checks the whole text.
        let members: HashMap<Cow<'_, str>, &RawValue> = serde_json::from_slice(answer).unwrap_or_default();
        for (found, part) in places.iter_mut().zip(self.parts) {
            let text = part.member.and_then(|member| members.get(member));
            *found = text.and_then(|text| {
                let from = text.get().as_ptr().addr() - answer.as_ptr().addr();
                place(from..from + text.get().len())
            });
        }
        places
    }
}

/// A range in the form that a slot stores.
fn place(range: Range<usize>) -> Option<(u32, u32)> {
    Some((u32::try_from(range.start).ok()?, u32::try_from(range.end).ok()?))
}

/// Which sources have a route that a service claims. Computed when the routes change, not for every
/// request.
#[derive(Debug, Default)]
pub(crate) struct Claimed {
    known: Cell<Option<(u64, [bool; SOURCES.len()])>>,
}

impl Claimed {
    /// True when a service offers the essential part.
    pub(crate) fn has_essential(&self, bus: &Bus) -> bool {
        SOURCES.iter().zip(self.look(bus)).all(|(source, claimed)| claimed || !source.essential)
    }

    /// One flag per source, in the order of the table. A source claimed for some members only
    /// counts as claimed.
    pub(crate) fn look(&self, bus: &Bus) -> [bool; SOURCES.len()] {
        let version = bus.routes_version();
        match self.known.get() {
            Some((known, claimed)) if known == version => claimed,
            _ => {
                let routes = bus.routes();
                let paths = || routes.iter().filter_map(|route| route.pattern.split(' ').nth(1));
                let claimed = SOURCES.each_ref().map(|source| paths().any(|path| source.may_match(path)));
                self.known.set(Some((version, claimed)));
                claimed
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_may_be_claimed_by_any_pattern_that_fits_its_path() {
        let fits = ["/feeds/{owner}", "/{*rest}", "/feeds/me", "/feeds/{owner}/head", "/fe{x}"];
        assert!(fits.iter().all(|pattern| SOURCES[1].may_match(pattern)));
        assert!(
            ["/profiles/{id}", "/feed", "/feedsx/{a}"].iter().all(|pattern| !SOURCES[1].may_match(pattern))
        );
    }

    #[test]
    fn parts_are_an_answer_or_members_of_one() {
        let places = |source: usize, answer: &str| {
            let places = SOURCES[source].places(answer.as_bytes());
            places.map(|place| place.map(|(from, to)| answer[from as usize..to as usize].to_owned()))
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(places(0, "{\"a\": 1}"), [text("{\"a\": 1}"), None, None]);
        assert_eq!(places(0, "{\"a\": 1"), [None, None, None]);
        let head = "{\"more\":false, \"unread\": 3,\"feed\":{\"entries\":[]}}";
        assert_eq!(places(1, head), [text("{\"entries\":[]}"), text("3"), None]);
        assert_eq!(places(1, "{\"unread\":3,"), [None, None, None]);
        assert_eq!(places(1, "{\"unread\":3}"), [None, text("3"), None]);
        assert_eq!(SOURCES[1].path("a%20b"), "/feeds/a%20b/head?limit=20");
    }
}
