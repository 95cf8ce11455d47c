//! Reads a directory of documents.
//!
//! Owns which files are documents: `NAME.json` in the folders of [`Kind`](crate::document::Kind)
//! and `segments.json`, following links, as Kubernetes' config maps need; names that begin with a
//! dot and editors' temporary files are none. Invariant: a file that has not changed is not read
//! again, and one that cannot be read is reported as refused, not as removed.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use crate::document::{DOCUMENT_LEN_MAX, Entry, Key, Origin, Revision};

/// A file that was changed this short a time before it was read may change again without another
/// time stamp: clocks of file systems tick in some milliseconds, of some in two seconds.
const STAMP_RESOLUTION: Duration = Duration::from_secs(2);

/// What earlier scans have read.
#[derive(Default)]
pub(super) struct Scan {
    known: HashMap<PathBuf, (Stamp, Entry)>,
}

/// Equal for a file that has not changed.
#[derive(PartialEq, Eq)]
struct Stamp([i64; 5], u64);

impl Scan {
    /// Every document below `root`.
    ///
    /// # Errors
    /// When `root` cannot be listed. A folder in it that cannot be listed is an error as well: its
    /// documents are not gone.
    pub(super) fn read(&mut self, root: &Path) -> io::Result<Vec<Entry>> {
        let mut known = HashMap::new();
        for path in documents(root)? {
            // Gone since the listing.
            let Ok(metadata) = fs::metadata(root.join(&path)) else { continue };
            if metadata.is_dir() {
                continue;
            }
            let stamp = Stamp::new(&metadata);
            let entry = match self.known.remove(&path) {
                Some((same, entry)) if same == stamp && entry.document.is_ok() => entry,
                _ => entry(&path, read(&root.join(&path), &metadata)),
            };
            let settled = !metadata.modified().is_ok_and(is_recent);
            known.insert(path, (if settled { stamp } else { Stamp([0; 5], 0) }, entry));
        }
        self.known = known;
        Ok(self.known.values().map(|(_, entry)| entry.clone()).collect())
    }
}

impl Stamp {
    fn new(metadata: &Metadata) -> Self {
        let times = [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()];
        let [mtime, mtime_nsec, ctime, ctime_nsec] = times;
        let inode = metadata.ino().cast_signed();
        Self([mtime, mtime_nsec, ctime, ctime_nsec, inode], metadata.len())
    }
}

/// The revision of a file's content; never that of an absent document.
pub(super) fn revision(content: &[u8]) -> Revision {
    Revision(xxh3_64(content).max(1))
}

fn is_recent(modified: SystemTime) -> bool {
    SystemTime::now().duration_since(modified).is_ok_and(|age| age < STAMP_RESOLUTION)
}

/// The paths of documents, relative to `root`.
fn documents(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for name in visible(root)? {
        let path = root.join(&name);
        if path.is_dir() {
            found
                .extend(visible(&path)?.into_iter().filter(|name| is_json(name)).map(|file| name.join(file)));
        } else if Key::of_file(&name).is_ok() {
            // Other files beside the folders, such as a README or the history, are no documents.
            found.push(name);
        }
    }
    Ok(found)
}

fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "json")
}

/// The names in a folder that do not begin with a dot.
fn visible(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if !name.as_encoded_bytes().starts_with(b".") {
            names.push(PathBuf::from(name));
        }
    }
    Ok(names)
}

/// The content of a document's file, or why it cannot be read.
pub(super) fn read(path: &Path, metadata: &Metadata) -> Result<Bytes, String> {
    if !metadata.is_file() {
        // Opening a pipe would wait for its writer.
        return Err("is no regular file".to_owned());
    }
    if metadata.len() > DOCUMENT_LEN_MAX as u64 {
        return Err(format!(
            "has {} bytes, the limit is {DOCUMENT_LEN_MAX}: split the document",
            metadata.len()
        ));
    }
    let mut content = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    // One byte more than the limit fails the check if the file has grown.
    file.take(DOCUMENT_LEN_MAX as u64 + 1).read_to_end(&mut content).map_err(|error| error.to_string())?;
    Ok(content.into())
}

fn entry(path: &Path, document: Result<Bytes, String>) -> Entry {
    let text = path.to_string_lossy();
    Entry {
        name: text.strip_suffix(".json").unwrap_or(&text).to_owned(),
        revision: document.as_ref().map_or(Revision(0), |content| revision(content)),
        document,
        created: Revision(0),
        lease: 0,
        origin: Origin::Directory,
    }
}
