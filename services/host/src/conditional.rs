//! Conditional requests (RFC 9110, section 13): ETags, `If-Match`, `If-None-Match`.
//!
//! Owns comparing tags. A service decides what a representation is, and makes the tag of the bytes
//! that it sends.

use bytes::Bytes;
use role::problem::Problem;
use xxhash_rust::xxh3::xxh3_64;

use crate::problems::PRECONDITION;
use crate::request::Request;

/// A strong entity tag: the XXH3 of a representation's bytes as 16 hexadecimal digits in quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ETag([u8; 18]);

impl ETag {
    /// The tag of a representation.
    #[must_use]
    pub fn of(representation: &[u8]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'"'; 18];
        for (at, byte) in xxh3_64(representation).to_be_bytes().into_iter().enumerate() {
            text[1 + 2 * at] = DIGITS[usize::from(byte >> 4)];
            text[2 + 2 * at] = DIGITS[usize::from(byte & 15)];
        }
        Self(text)
    }

    /// As the header field has it, with its quotes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same, owned.
    #[must_use]
    pub fn to_bytes(self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }
}

impl Request {
    /// True when `If-None-Match` says that the client of a GET has `tag` already: answer 304.
    #[must_use]
    pub fn has(&self, tag: &ETag) -> bool {
        self.headers("if-none-match").any(|value| names(value, Some(tag), Comparison::Weak))
    }

    /// Checks `If-Match` and `If-None-Match` before a write; `current` is the tag of what is stored
    /// now.
    ///
    /// # Errors
    /// A 412 that names the header which does not hold.
    pub fn check_write(&self, current: Option<&ETag>) -> Result<(), Problem> {
        let mut wanted = self.headers("if-match").peekable();
        if wanted.peek().is_some() && !wanted.any(|value| names(value, current, Comparison::Strong)) {
            let (detail, remedy) = match current {
                Some(_) => ("It was changed since.", "read it again and repeat the change"),
                None => ("There is nothing here yet that could match.", "leave out If-Match to create it"),
            };
            return Err(self.problem(PRECONDITION, detail).field("if-match").remedy(remedy));
        }
        if self.headers("if-none-match").any(|value| names(value, current, Comparison::Weak)) {
            let problem = self.problem(PRECONDITION, "It exists already.").field("if-none-match");
            return Err(problem.remedy("leave out If-None-Match to replace it"));
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Comparison {
    Strong,
    Weak,
}

/// True when a list of entity tags names `current`; `*` names anything that exists.
fn names(list: &[u8], current: Option<&ETag>, comparison: Comparison) -> bool {
    let Some(current) = current else { return false };
    if list.trim_ascii() == b"*" {
        return true;
    }
    let mut rest = list;
    while let Some(open) = rest.iter().position(|&byte| byte == b'"') {
        let weak = rest[..open].ends_with(b"W/");
        let Some(len) = rest[open + 1..].iter().position(|&byte| byte == b'"') else { return false };
        let end = open + len + 2;
        if rest[open..end] == current.0 && !(weak && comparison == Comparison::Strong) {
            return true;
        }
        rest = &rest[end..];
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_hexadecimal_in_quotes_and_follows_the_bytes() {
        let tag = ETag::of(b"abc");
        let text = std::str::from_utf8(tag.as_bytes()).unwrap().to_owned();
        assert_eq!(text, format!("\"{:016x}\"", xxh3_64(b"abc")));
        assert_ne!(tag, ETag::of(b"abd"));
    }

    #[test]
    fn lists_stars_and_weak_tags_compare_as_the_rfc_says() {
        let tag = ETag::of(b"abc");
        let own = std::str::from_utf8(tag.as_bytes()).unwrap();
        let strong = |list: &str| names(list.as_bytes(), Some(&tag), Comparison::Strong);
        let weak = |list: &str| names(list.as_bytes(), Some(&tag), Comparison::Weak);
        assert!(strong(own) && strong(&format!("\"a,b\", {own}")) && strong(" * "));
        assert!(!strong(&format!("W/{own}")) && weak(&format!("\"x\",W/{own}")));
        for bad in ["", "abc", "\"", "\"x", own.trim_matches('"')] {
            assert!(!strong(bad) && !weak(bad), "{bad}");
        }
        assert!(!names(b"*", None, Comparison::Weak));
    }
}
