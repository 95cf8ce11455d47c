//! Reads and writes of single documents in a directory, for the operator's commands.
//!
//! Owns compare-and-swap: a writer holds the lock file, compares the hash of the file's content
//! with the expected revision, writes a hidden file and renames it. The lock keeps our writers
//! apart; an editor that does not know it can win between compare and rename, and its readers and
//! ours still see whole files. Invariant: what is written has passed the check.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::{history, lock, scan};
use crate::document::{Key, Revision};
use crate::source::error::SourceError;
use crate::source::file;
use crate::source::request::{Change, Expected, Write, now_ms};

/// Access to the documents of one directory.
pub(in crate::source) struct Store {
    root: PathBuf,
}

impl Store {
    pub(in crate::source) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The directory.
    pub(in crate::source) fn root(&self) -> &Path {
        &self.root
    }

    /// A document as it is in its file now, with its revision.
    pub(in crate::source) async fn get(&self, key: &Key) -> Result<Option<(Bytes, Revision)>, SourceError> {
        let path = self.path(key)?;
        blocking(move || read(&path)).await
    }

    /// Makes one change. Returns the new revision.
    pub(in crate::source) async fn write(&self, write: Write) -> Result<Revision, SourceError> {
        write.check()?;
        let path = self.path(&write.key)?;
        let locked = lock::exclusive(&self.root).await?;
        let root = self.root.clone();
        blocking(move || {
            let written = apply(&root, &path, &write);
            drop(locked);
            written
        })
        .await
    }

    /// The changes of a document, the newest first.
    pub(in crate::source) async fn history(&self, key: &Key) -> Result<Vec<Change>, SourceError> {
        let (root, key) = (self.root.clone(), key.to_string());
        blocking(move || {
            history::read(&root, &key).map_err(|source| SourceError::File { path: root, source })
        })
        .await
    }

    fn path(&self, key: &Key) -> Result<PathBuf, SourceError> {
        key.file().map(|file| self.root.join(file)).ok_or_else(|| SourceError::NeedsEtcd(key.clone()))
    }
}

fn read(path: &Path) -> Result<Option<(Bytes, Revision)>, SourceError> {
    match std::fs::read(path) {
        Ok(content) => {
            let revision = scan::revision(&content);
            Ok(Some((content.into(), revision)))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(SourceError::File { path: path.to_owned(), source }),
    }
}

fn apply(root: &Path, path: &Path, write: &Write) -> Result<Revision, SourceError> {
    let found = read(path)?.map_or(Revision(0), |(_, revision)| revision);
    if let Expected::At(expected) = write.expected
        && expected != found
    {
        return Err(SourceError::Conflict { key: write.key.clone(), expected, found });
    }
    let failed = |source| SourceError::File { path: path.to_owned(), source };
    let after = match &write.document {
        Some(document) => {
            file::replace(path, document.as_bytes()).map_err(failed)?;
            scan::revision(document.as_bytes())
        }
        None if found == Revision(0) => return Ok(found),
        None => std::fs::remove_file(path).map(|()| Revision(0)).map_err(failed)?,
    };
    if let Some(change) = write.change(found, after, now_ms()) {
        history::append(root, &change).map_err(failed)?;
    }
    Ok(after)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("work on files does not panic")
}
