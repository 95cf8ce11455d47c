//! The characters of a metric's name and of a tag.
//!
//! Owns: which characters are replaced. statsd ends a name at `:`, a value at `|`, a metric at a
//! newline, starts a rate with `@` and DogStatsD's tags with `#`, and separates tags by `,`.
//! Invariant: whatever comes in, the line keeps its shape and its length stays bounded.

use std::borrow::Cow;

/// Of a tag's value, in characters: with every other part at its longest a line fits a packet.
const VALUE_CHARS_MAX: usize = 200;

/// Of a tag that every line has, in bytes.
const SHORT_BYTES_MAX: usize = 80;

/// A label's value as a part of a plain name: `GET /members/{id}` becomes `GET_members_id`, `GET /`
/// becomes `GET_root`. Dots are replaced too, since they separate the levels of a Graphite tree.
pub(crate) fn as_level(value: &str) -> String {
    let mut level = String::with_capacity(value.len().min(VALUE_CHARS_MAX));
    for c in value.chars().take(VALUE_CHARS_MAX) {
        if c.is_ascii_alphanumeric() || c == '-' {
            level.push(c);
        } else if !level.ends_with('_') && !level.is_empty() {
            level.push('_');
        }
    }
    if value.ends_with(" /") {
        level.push_str("root");
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

/// The value of a tag that every line has: ASCII, and shorter.
pub(crate) fn as_short_tag(value: &str) -> String {
    let ascii = |c: char| if c.is_ascii() { c } else { '_' };
    as_tag(&value.chars().map(ascii).take(SHORT_BYTES_MAX).collect::<String>())
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
        assert_eq!(as_level("GET /"), "GET_root");
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
