//! What is asked of a source: writes with their condition, and the history that they leave.
//!
//! Owns the shapes and the check before a write. Leaves writing to the sources. Invariant: a
//! [`Write`] that passed [`Write::check`] comes into force when it is written.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error::SourceError;
use crate::document::{Key, Revision, check};

/// On what a write depends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// On nothing: the last writer wins.
    Any,
    /// The document has this revision; `Revision(0)` when there must be none.
    At(Revision),
}

/// One change of one document.
#[derive(Clone, Debug)]
pub struct Write {
    /// Which document.
    pub key: Key,
    /// Its new text; `None` removes it.
    pub document: Option<String>,
    /// The condition.
    pub expected: Expected,
    /// Who changes it, for the history; `None` for records that processes write, which leave none.
    pub who: Option<String>,
}

/// One entry of a document's history.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Change {
    /// Milliseconds of Unix time, by the writer's clock.
    pub at_ms: u64,
    /// As the writer called itself.
    pub who: String,
    /// The document.
    pub key: String,
    /// The revision before; 0 when there was no document.
    pub before: Revision,
    /// The revision after; 0 when it was removed.
    #[serde(default)]
    pub after: Revision,
    /// The text after; `None` when it was removed.
    pub document: Option<Box<RawValue>>,
}

impl Write {
    /// Checks the document as it will be checked when it is read.
    ///
    /// # Errors
    /// [`SourceError::Document`] with the place.
    pub fn check(&self) -> Result<(), SourceError> {
        let Some(document) = &self.document else { return Ok(()) };
        match check(self.key.kind(), document.as_bytes()) {
            Ok(_) => Ok(()),
            Err(fault) => Err(SourceError::Document { key: self.key.clone(), fault }),
        }
    }

    /// The history's entry, when the write leaves one.
    pub(crate) fn change(&self, before: Revision, after: Revision, at_ms: u64) -> Option<Change> {
        let document = self.document.clone().map(|text| RawValue::from_string(text).expect("was checked"));
        let who = self.who.clone()?;
        Some(Change { at_ms, who, key: self.key.to_string(), before, after, document })
    }
}

/// Milliseconds of Unix time.
pub(crate) fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
