//! Why a source did not do what it was asked.
//!
//! Owns the error of the crate's I/O, grouped by blame: the operator's settings, the caller's
//! request, the store. Losing the store while following it is no error: it is a status.

use std::path::PathBuf;

use crate::document::{Fault, Key, Revision};

/// Why opening a source, reading, or writing failed.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The operator's: a setting is missing or wrong.
    #[error("{0}")]
    Settings(String),
    /// The caller's: the document fails its check.
    #[error("{key}: {fault}")]
    Document {
        /// What was to be written.
        key: Key,
        /// Why it is refused.
        fault: Fault,
    },
    /// The caller's: the document has changed since it was read.
    #[error(
        "{key} was changed by another writer: expected {}, found {}; read it again",
        version(*expected),
        version(*found)
    )]
    Conflict {
        /// What was to be written.
        key: Key,
        /// The revision that the writer knew.
        expected: Revision,
        /// The revision that is there.
        found: Revision,
    },
    /// The caller's: this kind of source cannot hold the key.
    #[error("{0} is under a lease, which only etcd has: use --etcd")]
    NeedsEtcd(Key),
    /// The caller's: the document is another system's, which is not written to.
    #[error(
        "{key} is Unleash's, and only read from {url}: use Unleash's console, which also has its history"
    )]
    ReadOnly {
        /// What was to be written.
        key: Key,
        /// Unleash's API.
        url: String,
    },
    /// The caller's: Unleash is the whole plan, and has toggles and segments only.
    #[error(
        "{0}: the plan is Unleash's, which has toggles and segments only: give --plan DIR or --etcd URL beside it"
    )]
    TogglesOnly(Key),
    /// The store's: it cannot be reached, or has no quorum. Nothing was done.
    #[error("no answer: {0}")]
    Unavailable(String),
    /// The store's: the connection broke after the request was sent.
    #[error("etcd may or may not have done it ({0}): read the key before trying again")]
    OutcomeUnknown(String),
    /// The store's: it understood and refuses.
    #[error("refused: {0}")]
    Refused(String),
    /// A file or a folder cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another process has the directory's lock.
    #[error("{} is locked by another writer for longer than {seconds} s", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// How long this writer waited.
        seconds: u64,
    },
}

fn version(revision: Revision) -> String {
    if revision == Revision::default() { "no document".to_owned() } else { format!("revision {revision}") }
}
