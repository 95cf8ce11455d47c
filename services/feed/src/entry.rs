//! What an entry is, as received and as stored.
//!
//! Owns the rules for texts, and the stored JSON text. Invariant: a stored entry is a JSON
//! object that begins with `{"id":`, so pages are joined without parsing it.

use serde::{Deserialize, Serialize};
use service_host::problems::{FIELD_INVALID, FIELD_MISSING};
use service_host::{ID_BYTES_MAX, Problem, Request, check_id};
use xxhash_rust::xxh3::Xxh3;

/// Longest text, in characters.
pub(crate) const TEXT_CHARS_MAX: usize = 2_000;

/// An entry to post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    /// Chosen by the client. Posting the same id again has no further effect.
    pub id: String,
    /// The author: the owner, unless another is named.
    pub author: String,
    /// The text of the entry.
    pub text: String,
}

/// All fields are optional here, so that the problem can name the missing one.
#[derive(Deserialize)]
struct Body {
    id: Option<String>,
    author: Option<String>,
    text: Option<String>,
}

#[derive(Serialize)]
struct Stored<'a> {
    id: &'a str,
    author: &'a str,
    text: &'a str,
    at_ms: u64,
}

impl NewEntry {
    /// Reads the body of a request to post.
    ///
    /// # Errors
    /// A problem that names the field and its limit.
    pub(crate) fn read(request: &Request, owner: &str) -> Result<Self, Problem> {
        let body: Body = request.json()?;
        let id = body.id.ok_or_else(|| missing("id", ID_BYTES_MAX))?;
        check_id("id", &id)?;
        let author = body.author.unwrap_or_else(|| owner.to_owned());
        check_id("author", &author)?;
        let text = body.text.ok_or_else(|| missing("text", TEXT_CHARS_MAX))?;
        let chars = text.chars().count();
        if !(1..=TEXT_CHARS_MAX).contains(&chars) {
            let detail = format!("`text` has 1 to {TEXT_CHARS_MAX} characters, this one has {chars}.");
            return Err(Problem::new(FIELD_INVALID, detail).field("text").limit(TEXT_CHARS_MAX as u64));
        }
        Ok(Self { id, author, text })
    }

    /// The stored form. `at_ms` is the wall clock, for display only; positions order entries.
    pub(crate) fn stored(&self, at_ms: u64) -> Vec<u8> {
        let stored = Stored { id: &self.id, author: &self.author, text: &self.text, at_ms };
        serde_json::to_vec(&stored).expect("strings and numbers are always JSON")
    }

    /// A hash that detects the reuse of an id for another entry.
    pub(crate) fn hash(&self) -> u64 {
        let mut hash = Xxh3::new();
        hash.update(&(self.author.len() as u64).to_le_bytes());
        hash.update(self.author.as_bytes());
        hash.update(self.text.as_bytes());
        hash.digest()
    }
}

fn missing(field: &'static str, limit: usize) -> Problem {
    let problem = Problem::new(FIELD_MISSING, format!("`{field}` is missing.")).field(field);
    problem.limit(limit as u64).remedy("give \"id\" and \"text\"; \"author\" only for another author")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_begins_as_pages_need_it() {
        let entry = NewEntry { id: "a\"".to_owned(), author: "b".to_owned(), text: "c\n".to_owned() };
        let text = String::from_utf8(entry.stored(7)).unwrap();
        assert_eq!(text, r#"{"id":"a\"","author":"b","text":"c\n","at_ms":7}"#);
    }

    #[test]
    fn the_hash_is_of_author_and_text_apart() {
        let hash = |author: &str, text: &str| {
            NewEntry { id: String::new(), author: author.to_owned(), text: text.to_owned() }.hash()
        };
        assert_eq!(hash("a", "b"), hash("a", "b"));
        assert_ne!(hash("ab", "c"), hash("a", "bc"));
    }
}
