//! The table of what a member's page consists of.
//!
//! A further part is one more row. An optional part whose route nobody ever claimed is not part of the page.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashMap;

use bytes::Bytes;
use serde_json::value::RawValue;
use service_host::bus::Bus;

/// One part of a member's page: an answer of one service, or a member of that answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// The part's name in the answer.
    pub(crate) name: &'static str,
    /// Who gives it.
    pub(crate) service: &'static str,
    /// The path before the member's id.
    before: &'static str,
    /// The path behind the member's id.
    after: &'static str,
    /// The member of the service's answer that is the part; `None` = all of it.
    member: Option<&'static str>,
    /// Without it there is no page.
    pub(crate) essential: bool,
}

/// The parts, the essential one first.
pub(crate) static PARTS: [Part; 3] = [
    Part {
        name: "profile",
        service: "profile",
        before: "/profiles/",
        after: "",
        member: None,
        essential: true,
    },
    Part {
        name: "feed",
        service: "feed",
        before: "/feeds/",
        after: "?limit=20",
        member: None,
        essential: false,
    },
    Part {
        name: "unread",
        service: "feed",
        before: "/feeds/",
        after: "/unread",
        member: Some("unread"),
        essential: false,
    },
];

impl Part {
    /// The path of this part for a member; `id` is percent-encoded.
    pub(crate) fn path(&self, id: &str) -> String {
        let mut path = String::with_capacity(self.before.len() + id.len() + self.after.len());
        path.push_str(self.before);
        path.push_str(id);
        path.push_str(self.after);
        path
    }

    /// Whether a pattern could match a path of this part: literal up to the first parameter of either.
    fn may_match(&self, pattern: &str) -> bool {
        match pattern.split_once('{') {
            Some((literal, _)) => literal.starts_with(self.before) || self.before.starts_with(literal),
            None => pattern.starts_with(self.before),
        }
    }

    /// The part's JSON in what the service answered, a slice of it; `None` when it is not there.
    pub(crate) fn content(&self, answer: &Bytes) -> Option<Bytes> {
        let Some(member) = self.member else { return Some(answer.clone()) };
        let members: HashMap<Cow<'_, str>, &RawValue> = serde_json::from_slice(answer).ok()?;
        members.get(member).map(|content| answer.slice_ref(content.get().as_bytes()))
    }
}

/// Which parts somebody claims a route for: worked out anew when the routes change, not for every request.
#[derive(Debug, Default)]
pub(crate) struct Claimed {
    known: Cell<Option<(u64, [bool; PARTS.len()])>>,
}

impl Claimed {
    /// In the order of the table. A part that is claimed for some members only counts as claimed.
    pub(crate) fn look(&self, bus: &Bus) -> [bool; PARTS.len()] {
        let version = bus.routes_version();
        match self.known.get() {
            Some((known, claimed)) if known == version => claimed,
            _ => {
                let routes = bus.routes();
                let paths = || routes.iter().filter_map(|route| route.pattern.split(' ').nth(1));
                let claimed = PARTS.each_ref().map(|part| paths().any(|path| part.may_match(path)));
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
    fn a_part_may_be_claimed_by_any_pattern_that_fits_its_path() {
        let fits = ["/feeds/{owner}", "/{*rest}", "/feeds/me", "/feeds/{owner}/unread", "/fe{x}"];
        assert!(fits.iter().all(|pattern| PARTS[1].may_match(pattern)));
        assert!(
            ["/profiles/{id}", "/feed", "/feedsx/{a}"].iter().all(|pattern| !PARTS[1].may_match(pattern))
        );
    }

    #[test]
    fn a_part_may_be_a_member_of_an_answer() {
        let answer = Bytes::from_static(b"{\"more\":false, \"unread\": 3}");
        assert_eq!(PARTS[1].content(&answer).as_deref(), Some(&answer[..]));
        assert_eq!(PARTS[2].content(&answer).as_deref(), Some(&b"3"[..]));
        assert_eq!(PARTS[2].content(&Bytes::from_static(b"{}")), None);
        assert_eq!(PARTS[2].path("a%20b"), "/feeds/a%20b/unread");
    }
}
