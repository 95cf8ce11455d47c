//! The check that a document passes before it comes into force, and where in its text it fails.
//!
//! Owns [`Fault`] with line, column and field, and the choice of the check for each kind. The
//! checks themselves belong to the modules that use the documents. Invariant: a fault that names a
//! field of the text also has its line and column.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use super::DOCUMENT_LEN_MAX;
use super::key::Kind;
use super::listener::Listener;

/// Why a document is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// First is 1; 0 when the fault is in no single place.
    pub line: usize,
    /// First is 1; 0 when the fault is in no single place.
    pub column: usize,
    /// The field, such as `strategies[0].name`; empty for the whole document.
    pub path: String,
    /// A sentence without a full stop.
    pub reason: String,
}

impl Fault {
    /// A fault of the whole document.
    pub fn whole(reason: String) -> Self {
        Self { line: 0, column: 0, path: String::new(), reason }
    }

    /// A fault of one field; [`check`] adds line and column.
    pub fn at(path: &str, reason: String) -> Self {
        Self { path: path.to_owned(), ..Self::whole(reason) }
    }

    /// Looks the field up in the text, unless the place is known.
    fn located(mut self, text: &str) -> Self {
        if self.line == 0
            && let Some(offset) = offset_of(text, &self.path)
        {
            let before = &text[..offset];
            self.line = before.matches('\n').count() + 1;
            self.column = offset - before.rfind('\n').map_or(0, |end| end + 1) + 1;
        }
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {} column {}: ", self.line, self.column)?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Fault {}

/// Checks a document of `kind`: its length, its encoding, and what its kind asks for. Returns its
/// text.
///
/// # Errors
/// The first [`Fault`].
pub fn check(kind: Kind, document: &[u8]) -> Result<&str, Fault> {
    if document.len() > DOCUMENT_LEN_MAX {
        let reason =
            format!("has {} bytes, the limit is {DOCUMENT_LEN_MAX}: split the document", document.len());
        return Err(Fault::whole(reason));
    }
    let text = std::str::from_utf8(document)
        .map_err(|error| Fault::whole(format!("is not UTF-8 after byte {}", error.valid_up_to())))?;
    let checked = match kind {
        Kind::Bus => parse::<Listener>(text).and_then(|listener| listener.check()),
        // A document of a kind without a type of its own here is a JSON object.
        Kind::Toggle | Kind::Segments | Kind::Rollout | Kind::Ghost => object(text),
        Kind::RolloutState | Kind::Counts | Kind::Candidate => object(text),
    };
    checked.map(|()| text).map_err(|fault| fault.located(text))
}

/// Parses a document.
///
/// # Errors
/// A [`Fault`] with line, column and field.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Fault> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let fault = |error: &serde_json::Error, path: String| {
        let (line, column) = (error.line(), error.column());
        let message = error.to_string();
        // The place has fields of its own.
        let place = format!(" at line {line} column {column}");
        let reason = message.strip_suffix(&place).unwrap_or(&message).to_owned();
        Fault { line, column, path, reason }
    };
    let parsed = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        fault(error.inner(), if path == "." { String::new() } else { path })
    })?;
    deserializer.end().map_err(|error| fault(&error, String::new()))?;
    Ok(parsed)
}

fn object(text: &str) -> Result<(), Fault> {
    match parse::<Value>(text)? {
        Value::Object(_) => Ok(()),
        _ => Err(Fault { line: 1, column: 1, ..Fault::whole("is no JSON object".to_owned()) }),
    }
}

/// Where the value of a field such as `strategies[0].name` begins, or that of the innermost parent
/// that the text has. `None` when the text does not parse.
fn offset_of(text: &str, path: &str) -> Option<usize> {
    let mut raw: &RawValue = serde_json::from_str(text).ok()?;
    for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
        let inner = match step.strip_suffix(']').map(str::parse::<usize>) {
            Some(Ok(at)) => {
                serde_json::from_str::<Vec<&RawValue>>(raw.get()).ok().and_then(|list| list.get(at).copied())
            }
            _ => serde_json::from_str::<BTreeMap<Cow<'_, str>, &RawValue>>(raw.get())
                .ok()
                .and_then(|fields| fields.get(step).copied()),
        };
        let Some(inner) = inner else { break };
        raw = inner;
    }
    // The raw value is a slice of the text.
    (raw.get().as_ptr() as usize).checked_sub(text.as_ptr() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_names_line_column_and_field() {
        let text = "{\n  \"urls\": [\"tcp://a:1\",\n    7],\n \"role\": \"web\", \"version\": \"1\"}";
        let fault = check(Kind::Bus, text.as_bytes()).expect_err("7 is no URL");
        assert_eq!((fault.line, fault.path.as_str()), (3, "urls[1]"), "{fault}");
        assert!(!fault.reason.contains("line"), "{fault}");

        let text = "{\n  \"urls\": [\"tcp://a:1\",\n    \"a\"],\n \"role\": \"web\", \"version\": \"1\"}";
        let fault = check(Kind::Bus, text.as_bytes()).expect_err("`a` is no URL");
        assert_eq!((fault.line, fault.column, fault.path.as_str()), (3, 5, "urls[1]"), "{fault}");

        let fault = check(Kind::Bus, b"{\"urls\":[],\"role\":\"\",\"version\":\"\"}").expect_err("no URL");
        assert_eq!(fault.to_string(), "line 1 column 9: urls: has 0 URLs: 1 to 16 are");
    }

    #[test]
    fn truncated_oversized_and_foreign_documents_are_refused() {
        let fault = |document: &[u8]| check(Kind::Toggle, document).expect_err("is refused");
        assert_eq!((fault(b"{\n\"a\":").line, fault(b"").line), (2, 1));
        assert_eq!(fault(b"[]").reason, "is no JSON object");
        assert!(fault(b"{} {}").reason.contains("trailing"));
        assert_eq!(fault(b"{\"\xff\"").reason, "is not UTF-8 after byte 2");
        let long = vec![b' '; DOCUMENT_LEN_MAX + 1];
        assert_eq!(fault(&long).reason, "has 262145 bytes, the limit is 262144: split the document");
        let deep = "[".repeat(10_000);
        assert!(fault(deep.as_bytes()).reason.contains("recursion"), "a deep document is no stack overflow");
    }

    #[test]
    fn the_position_of_an_absent_field_is_its_parents() {
        let text = "{\"a\": {\"b\": [1, {}]}}";
        assert_eq!(offset_of(text, "a.b[1].c"), Some(16));
        assert_eq!(offset_of(text, "z"), Some(0));
        assert_eq!(offset_of("{", "z"), None);
    }
}
