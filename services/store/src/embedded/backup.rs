//! A copy of an open store in a directory of its own, which is a store again.
//!
//! Reads one view, so the copy is the store at one version, whatever is committed meanwhile. Owns
//! the copy's files until it is complete. Invariant: a directory without the ending `.unfinished`
//! is complete and durable.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use fjall::PersistMode;

use super::{
    directory::{Engine, VERSION_KEY},
    view::View,
};
use crate::backup::{Backup, BackupError};

/// Writes the store at `view` to the directory `to`, which must not exist. Ends early, with an
/// error, once `closing` is true.
pub(super) fn write(view: &View, to: &Path, closing: &AtomicBool) -> Result<Backup, BackupError> {
    let unusable = |source| BackupError::Directory { dir: to.to_owned(), source };
    if to.try_exists().map_err(unusable)? {
        return Err(BackupError::Exists { dir: to.to_owned() });
    }
    let mut unfinished = to.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let unfinished = PathBuf::from(unfinished);
    fs::create_dir_all(&unfinished).map_err(unusable)?;
    let copied = copy(view, &unfinished.join("engine"), closing);
    let copied = copied.and_then(|backup| publish(&unfinished, to).map(|()| backup).map_err(unusable));
    if copied.is_err() {
        fs::remove_dir_all(&unfinished).ok();
    }
    copied
}

fn copy(view: &View, engine: &Path, closing: &AtomicBool) -> Result<Backup, BackupError> {
    let failed = |source: fjall::Error| BackupError::Engine { source: Box::new(source) };
    let engine = Engine::open(engine).map_err(failed)?;
    let mut backup = Backup { version: view.version, rows: 0, bytes: 0 };
    let mut rows = engine.keyspace.start_ingestion().map_err(failed)?;
    for row in view.all() {
        let (key, value) = row.map_err(failed)?;
        if closing.load(Ordering::Relaxed) {
            return Err(BackupError::Closing);
        }
        // The version of the view, which may be newer than the stored one after damage.
        if key == VERSION_KEY {
            continue;
        }
        backup.rows += 1;
        backup.bytes += (key.len() + value.len()) as u64;
        rows.write(key, value).map_err(failed)?;
    }
    rows.finish().map_err(failed)?;
    engine.keyspace.insert(VERSION_KEY, view.version.to_be_bytes()).map_err(failed)?;
    engine.database.persist(PersistMode::SyncAll).map_err(failed)?;
    Ok(backup)
}

fn publish(unfinished: &Path, to: &Path) -> io::Result<()> {
    File::open(unfinished)?.sync_all()?;
    fs::rename(unfinished, to)?;
    match to.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}
