//! The two versions of the answers: profiles as they were written, and with initials.
//!
//! Owns what a version adds to a profile. Leaves the routes to `routes`. Invariant: version 1
//! answers with the stored text, byte for byte; a profile with initials of its own keeps them.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;

/// Most initials that are shown.
const INITIALS_MAX: usize = 4;

/// A version of the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// As stored.
    Stored,
    /// With `initials`, made of `name`.
    Initials,
}

/// What the initials are made of.
#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    initials: Option<serde::de::IgnoredAny>,
}

impl Answers {
    /// The answers of `--answer-version`.
    #[must_use]
    pub fn new(answer_version: u8) -> Self {
        if answer_version >= 2 { Self::Initials } else { Self::Stored }
    }

    /// The answers of the service's version `version`.
    #[must_use]
    pub fn of(version: &str) -> Self {
        if version == Self::Initials.version() { Self::Initials } else { Self::Stored }
    }

    /// The version of the service that has these answers, as its hello says.
    #[must_use]
    pub fn version(self) -> String {
        match self {
            Self::Stored => env!("CARGO_PKG_VERSION").to_owned(),
            Self::Initials => "2".to_owned(),
        }
    }

    /// What a client gets of a stored profile, which is a JSON object.
    #[must_use]
    pub fn show(self, stored: &Bytes) -> Bytes {
        match self {
            Self::Stored => stored.clone(),
            Self::Initials => with_initials(stored).map_or_else(|| stored.clone(), Bytes::from),
        }
    }
}

/// The profile with its initials; `None` when it has no name, or initials already.
fn with_initials(stored: &[u8]) -> Option<Vec<u8>> {
    let Named { name: Some(name), initials: None } = serde_json::from_slice(stored).ok()? else {
        return None;
    };
    let first = name.split_whitespace().filter_map(|word| word.chars().next());
    let initials: String = first.take(INITIALS_MAX).flat_map(char::to_uppercase).collect();
    if initials.is_empty() {
        return None;
    }
    let open = stored.trim_ascii_end().strip_suffix(b"}")?;
    let mut shown = open.to_vec();
    shown.extend_from_slice(b",\"initials\":");
    serde_json::to_writer(&mut shown, &initials).ok()?;
    shown.push(b'}');
    Some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initials_are_added_to_a_profile_with_a_name_and_nothing_else_changes() {
        for (stored, shown) in [
            (r#"{"name":"Ada Lovelace", "n":1.50}"#, r#"{"name":"Ada Lovelace", "n":1.50,"initials":"AL"}"#),
            (r#"{"name":"\u00e9mile zola"}"#, r#"{"name":"\u00e9mile zola","initials":"ÉZ"}"#),
            (r#"{"name":"a b c d e"}"#, r#"{"name":"a b c d e","initials":"ABCD"}"#),
            (r#"{"name":"Ada","initials":"x"}"#, r#"{"name":"Ada","initials":"x"}"#),
            (r#"{"name":" "}"#, r#"{"name":" "}"#),
            (r#"{"name":7}"#, r#"{"name":7}"#),
            ("{}", "{}"),
        ] {
            let stored = Bytes::from_static(stored.as_bytes());
            assert_eq!(Answers::Stored.show(&stored), stored);
            assert_eq!(Answers::Initials.show(&stored), shown);
        }
    }

    #[test]
    fn every_version_finds_its_answers() {
        for answers in [Answers::Stored, Answers::Initials] {
            assert_eq!(Answers::of(&answers.version()), answers);
        }
    }
}
