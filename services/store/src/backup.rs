//! The result of a backup, and why there is none. `embedded/backup.rs` makes it.
//!
//! Invariant: after an error, nothing is at the place of the backup.

use std::{io, path::PathBuf};

use crate::error::OpenError;

/// A complete backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backup {
    /// The version of the last commit that is in it.
    pub version: u64,
    /// Its keys.
    pub rows: u64,
    /// Bytes of its keys and values.
    pub bytes: u64,
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The place is in use.
    #[error("{} exists already: name a new directory", dir.display())]
    Exists {
        /// The place.
        dir: PathBuf,
    },
    /// There is no store.
    #[error("{} holds no store", dir.display())]
    Missing {
        /// The store's directory.
        dir: PathBuf,
    },
    /// The place can't be created or used.
    #[error("{} can't be written: check its permissions and its file system", dir.display())]
    Directory {
        /// The place.
        dir: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// Reading the store or writing the copy failed.
    #[error("the store could not be copied")]
    Engine {
        /// The engine's error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store was closed meanwhile.
    #[error("the store was closed before the copy was complete: ask again")]
    Closing,
    /// The process that has the store open could not copy it.
    #[error("{reason}")]
    Refused {
        /// Its reason.
        reason: String,
    },
    /// No process has the store open, and it could not be opened.
    #[error(transparent)]
    Open(Box<OpenError>),
    /// The store is a FoundationDB cluster.
    #[error("a FoundationDB cluster is backed up as a whole: use `fdbbackup`, see services/store/README.md")]
    Cluster,
}
