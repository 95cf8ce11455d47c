//! Where a document fails: line, column and field.
//!
//! Owns [`Fault`] and the parser that reports one. Leaves what is checked to the modules that use
//! the documents. Invariant: a fault that names a field of the text also has its line and column
//! once it is [located](Fault::located).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

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

    /// A fault of one field; [`Fault::located`] adds line and column.
    pub fn at(path: &str, reason: String) -> Self {
        Self { path: path.to_owned(), ..Self::whole(reason) }
    }

    /// Looks the field up in the text, unless the place is known.
    pub fn located(mut self, text: &str) -> Self {
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
    fn the_position_of_an_absent_field_is_its_parents() {
        let text = "{\"a\": {\"b\": [1, {}]}}";
        assert_eq!(offset_of(text, "a.b[1].c"), Some(16));
        assert_eq!(offset_of(text, "z"), Some(0));
        assert_eq!(offset_of("{", "z"), None);
    }
}
