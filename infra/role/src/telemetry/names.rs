//! What may stand in a metric's name and in a tag.
//!
//! Owns: the characters. statsd ends a name at `:`, a value at `|`, a metric at a newline, starts a rate with `@` and
//! DogStatsD's tags with `#`, and parts tags with `,`. Invariant: whatever comes in, the line keeps its shape and its length
//! stays bounded.

use std::borrow::Cow;

/// Of a tag's value, in characters: with every other part at its longest a line fits a packet.
const VALUE_CHARS_MAX: usize = 200;

/// A tag's value as a part of a plain name: `GET /members/{id}` becomes `GET_members_id`. Dots go too, since they part
/// the levels of a Graphite tree.
pub(crate) fn as_level(value: &str) -> String {
    let mut level = String::with_capacity(value.len().min(VALUE_CHARS_MAX));
    for c in value.chars().take(VALUE_CHARS_MAX) {
        if c.is_ascii_alphanumeric() || c == '-' {
            level.push(c);
        } else if !level.ends_with('_') && !level.is_empty() {
            level.push('_');
        }
    }
    level.truncate(level.trim_end_matches('_').len());
    if level.is_empty() { "none".to_owned() } else { level }
}

/// A tag's value for DogStatsD: `GET /members/{id}` becomes `GET_/members/{id}`.
pub(crate) fn as_tag(value: &str) -> String {
    if value.is_empty() {
        return "none".to_owned();
    }
    value.chars().take(VALUE_CHARS_MAX).map(|c| if is_reserved(c) || c == ',' { '_' } else { c }).collect()
}

/// A name or a prefix; dots stay.
pub(crate) fn as_name(name: &str) -> Cow<'_, str> {
    if name.contains(is_reserved) {
        Cow::Owned(name.chars().map(|c| if is_reserved(c) { '_' } else { c }).collect())
    } else {
        Cow::Borrowed(name)
    }
}

fn is_reserved(c: char) -> bool {
    matches!(c, ':' | '|' | '@' | '#') || c.is_whitespace() || c.is_control()
}

#[cfg(test)]
mod tests {
    use super::{VALUE_CHARS_MAX, as_level, as_name, as_tag};

    #[test]
    fn route_becomes_one_level_of_a_name() {
        assert_eq!(as_level("GET /members/{id}"), "GET_members_id");
        assert_eq!(as_level("a.b:c|d@e#f\ng"), "a_b_c_d_e_f_g");
        assert_eq!(as_level("/"), "none");
        assert_eq!(as_level(&"x".repeat(5000)).len(), VALUE_CHARS_MAX);
    }

    #[test]
    fn tag_keeps_what_dogstatsd_allows() {
        assert_eq!(as_tag("GET /members/{id}"), "GET_/members/{id}");
        assert_eq!(as_tag("a:b|c@d#e\nf,g"), "a_b_c_d_e_f_g");
        assert_eq!(as_tag(""), "none");
    }

    #[test]
    fn clean_name_is_borrowed() {
        assert!(matches!(as_name("http.requests"), std::borrow::Cow::Borrowed("http.requests")));
        assert_eq!(as_name("a:b\nc.d"), "a_b_c.d");
    }
}
