//! What a message is, as received and as stored.
//!
//! Owns the rules for texts, and the stored JSON text. Invariant: a stored message is a
//! JSON object that begins with `{"id":`, so answers are joined without parsing it.

use serde::{Deserialize, Serialize};
use service_host::problems::{FIELD_INVALID, FIELD_MISSING};
use service_host::{ID_BYTES_MAX, Problem, Request, check_id};
use xxhash_rust::xxh3::Xxh3;

/// Longest text, in characters.
pub(crate) const TEXT_CHARS_MAX: usize = 2_000;

/// A message to post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    /// Chosen by the client. Posting the same id again has no further effect.
    pub id: String,
    /// The member who wrote the message.
    pub author: String,
    /// The text of the message.
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

impl NewMessage {
    /// Reads the body of a request to post.
    ///
    /// # Errors
    /// A problem that names the field and its limit.
    pub(crate) fn read(request: &Request) -> Result<Self, Problem> {
        let body: Body = request.json()?;
        let id = present("id", body.id)?;
        let author = present("author", body.author)?;
        let text = body.text.ok_or_else(|| missing("text", TEXT_CHARS_MAX))?;
        let chars = text.chars().count();
        if !(1..=TEXT_CHARS_MAX).contains(&chars) {
            let detail = format!("`text` has 1 to {TEXT_CHARS_MAX} characters, this one has {chars}.");
            return Err(Problem::new(FIELD_INVALID, detail).field("text").limit(TEXT_CHARS_MAX as u64));
        }
        Ok(Self { id, author, text })
    }

    /// The stored form. `at_ms` is the wall clock, for display only; positions order messages.
    pub(crate) fn stored(&self, at_ms: u64) -> Vec<u8> {
        let stored = Stored { id: &self.id, author: &self.author, text: &self.text, at_ms };
        serde_json::to_vec(&stored).expect("strings and numbers are always JSON")
    }

    /// A hash that detects the reuse of an id for another message.
    pub(crate) fn hash(&self) -> u64 {
        let mut hash = Xxh3::new();
        hash.update(&(self.author.len() as u64).to_le_bytes());
        hash.update(self.author.as_bytes());
        hash.update(self.text.as_bytes());
        hash.digest()
    }
}

/// An id in a body.
///
/// # Errors
/// A problem that names the field and the limit.
pub(crate) fn present(field: &'static str, id: Option<String>) -> Result<String, Problem> {
    let id = id.ok_or_else(|| missing(field, ID_BYTES_MAX))?;
    check_id(field, &id)?;
    Ok(id)
}

fn missing(field: &'static str, limit: usize) -> Problem {
    Problem::new(FIELD_MISSING, format!("`{field}` is missing.")).field(field).limit(limit as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_begins_as_answers_need_it() {
        let message = NewMessage { id: "a\"".to_owned(), author: "b".to_owned(), text: "c\n".to_owned() };
        let text = String::from_utf8(message.stored(7)).unwrap();
        assert_eq!(text, r#"{"id":"a\"","author":"b","text":"c\n","at_ms":7}"#);
        let other = NewMessage { author: "bc".to_owned(), text: "\n".to_owned(), ..message.clone() };
        assert_ne!(message.hash(), other.hash());
    }
}
