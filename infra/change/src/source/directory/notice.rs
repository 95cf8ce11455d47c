//! Being told that something below a directory has changed.
//!
//! Owns the watches: on the directory, its folders, and what may replace the directory. Does not
//! look at files. Invariant: after [`Notice::renew`] the watches are on the folders that a scan
//! reads now; where they cannot be set, the regular scan is what is left.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::lock;

/// The watches of one directory.
pub(super) struct Notice {
    root: PathBuf,
    /// `None` when the system has no watches left.
    watcher: Option<RecommendedWatcher>,
    /// Device and inode of each watched folder: a folder of the same name may be another.
    watched: BTreeMap<PathBuf, (u64, u64)>,
    changed: Arc<Notify>,
}

impl Notice {
    pub(super) fn new(root: &Path) -> Self {
        let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        let changed = Arc::new(Notify::new());
        let (told, below) = (Arc::clone(&changed), root.clone());
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // An error, such as an overflow of the queue, may hide a change.
            if event.map_or(true, |event| concerns(&event, &below)) {
                told.notify_one();
            }
        });
        let watcher = watcher.inspect_err(|error| {
            tracing::warn!("{} is not watched but read every few seconds: {error}", root.display());
        });
        Self { root, watcher: watcher.ok(), watched: BTreeMap::new(), changed }
    }

    /// Holds a permit after each change.
    pub(super) fn changed(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }

    /// Watches the folders that are there now.
    pub(super) fn renew(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let wanted = folders(&self.root);
        for path in self.watched.keys().filter(|path| !wanted.contains_key(*path)) {
            // The folder is gone, and its watch with it.
            let _ = watcher.unwatch(path);
        }
        for (path, inode) in wanted.iter().filter(|(path, inode)| self.watched.get(*path) != Some(inode)) {
            if self.watched.contains_key(path) {
                let _ = watcher.unwatch(path);
            }
            if let Err(error) = watcher.watch(path, RecursiveMode::NonRecursive) {
                tracing::debug!("{} is not watched: {error}", path.display());
            }
            tracing::trace!(inode = inode.1, "watches {}", path.display());
        }
        self.watched = wanted;
    }
}

/// The folders to watch. Beside the directory and its folders: the nearest parent that exists,
/// where the directory may appear, be replaced, or be a link that is set anew.
fn folders(root: &Path) -> BTreeMap<PathBuf, (u64, u64)> {
    let mut folders = BTreeMap::new();
    let mut add = |path: PathBuf| {
        let found = fs::metadata(&path).ok().filter(fs::Metadata::is_dir);
        found.map(|found| folders.insert(path, (found.dev(), found.ino()))).is_some()
    };
    let _ = root.ancestors().skip(1).any(|parent| add(parent.to_owned()));
    add(root.to_owned());
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            add(entry.path());
        }
    }
    folders
}

/// True for a change below the directory, or on the way to it. Reading a file is no change, and
/// neither is trying a lock.
fn concerns(event: &notify::Event, root: &Path) -> bool {
    let read = matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write));
    let near = |path: &PathBuf| path.starts_with(root) || root.starts_with(path);
    !read && event.paths.iter().any(|path| near(path) && !lock::is_lock(path))
}
