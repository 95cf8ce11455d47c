//! How far a seed got, in a file in the user's directory.
//!
//! Owns that file, and the checks that it belongs to the same seed and that the source is
//! unchanged. Invariant: the file is replaced as a whole, so it can be read however the process
//! ended.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::error::Error;
use super::place::Place;
use super::source::Source;

/// Bytes hashed at the beginning of a file, and as many before the place, to detect a changed file.
const PROBE_BYTES: u64 = 4096;

/// How far a seed got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The source.
    source: String,
    /// The target.
    target: String,
    /// Everything up to this place is done.
    pub place: Place,
    /// Lines skipped so far.
    pub bad: u64,
    /// Hash of the source's bytes at the beginning and before the place.
    hash: u64,
}

/// The checkpoint's file.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    source: String,
    target: String,
    /// The source's file, to detect changes.
    file: Option<File>,
}

impl Checkpoint {
    /// A checkpoint at `path`, or at a name derived from source and target.
    ///
    /// # Errors
    /// The source's file cannot be read.
    pub fn new(path: Option<&Path>, source: &Source, target: &str) -> io::Result<Self> {
        let file = if let Source::File { path, .. } = source { Some(File::open(path)?) } else { None };
        let (source, target) = (source.to_string(), target.to_owned());
        let named =
            || format!("seed-{:016x}.checkpoint", xxh3_64(format!("{source}\n{target}").as_bytes())).into();
        let path = path.map_or_else(named, Path::to_owned);
        Ok(Self { path, source, target, file })
    }

    /// Path of the checkpoint.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How far the last run got; `None` when there is no checkpoint.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it belongs to another seed, or when the source has changed.
    pub fn read(&self) -> Result<Option<Progress>, Error> {
        let refused = |reason: String| Error::Checkpoint { path: self.path.clone(), reason };
        let text = match std::fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::File { path: self.path.clone(), source }),
        };
        let found: Progress =
            serde_json::from_slice(&text).map_err(|error| refused(format!("not a checkpoint: {error}")))?;
        if (&found.source, &found.target) != (&self.source, &self.target) {
            return Err(refused(format!("the checkpoint of {} to {}", found.source, found.target)));
        }
        match self.probe(found.place.end) {
            Ok(hash) if hash == found.hash => Ok(Some(found)),
            Ok(_) => Err(refused("the file has changed before the place that was reached".to_owned())),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                Err(refused("the file is shorter than what was sent of it".to_owned()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Records that everything up to `place` is done.
    ///
    /// # Errors
    /// Errors of the system.
    pub fn write(&self, place: Place, bad: u64) -> io::Result<()> {
        let (source, target) = (self.source.clone(), self.target.clone());
        let progress = Progress { source, target, place, bad, hash: self.probe(place.end)? };
        let mut text = serde_json::to_vec(&progress)?;
        text.push(b'\n');
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let file = tempfile::NamedTempFile::new_in(directory.unwrap_or(Path::new(".")))?;
        std::fs::write(file.path(), text)?;
        file.persist(&self.path)?;
        Ok(())
    }

    /// Removes the checkpoint, so that the next run begins anew.
    ///
    /// # Errors
    /// Errors of the system.
    pub fn remove(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn probe(&self, end: u64) -> io::Result<u64> {
        let Some(file) = &self.file else { return Ok(0) };
        let len = end.min(PROBE_BYTES);
        let half = usize::try_from(len).expect("is at most PROBE_BYTES");
        let mut bytes = vec![0; 2 * half];
        let (head, tail) = bytes.split_at_mut(half);
        file.read_exact_at(head, 0)?;
        file.read_exact_at(tail, end - len)?;
        Ok(xxh3_64(&bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Checkpoint, Place, Source};
    use crate::seed::population::Population;

    fn of_file(dir: &Path, text: &str) -> Checkpoint {
        let path = dir.join("lines");
        std::fs::write(&path, text).expect("writes");
        let source = Source::File { path, template: None, described: String::new(), len: 0 };
        Checkpoint::new(Some(&dir.join("checkpoint")), &source, "http://t").expect("opens")
    }

    #[test]
    fn place_is_read_back_until_it_is_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        let checkpoint = of_file(dir.path(), "line one\nline two\n");
        assert_eq!(checkpoint.read().expect("reads"), None);
        let place = Place { number: 1, end: 9 };
        checkpoint.write(place, 3).expect("writes");
        let found = checkpoint.read().expect("reads").expect("is there");
        assert_eq!((found.place, found.bad), (place, 3));
        checkpoint.remove().expect("removes");
        checkpoint.remove().expect("is gone already");
        assert_eq!(checkpoint.read().expect("reads"), None);
    }

    #[test]
    fn file_that_grew_is_the_same_and_one_that_changed_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        of_file(dir.path(), "line one\n").write(Place { number: 1, end: 9 }, 0).expect("writes");
        assert!(of_file(dir.path(), "line one\nline two\n").read().expect("reads").is_some());
        for changed in ["line 1\nmore lines\n", "line"] {
            let error = of_file(dir.path(), changed).read().expect_err(changed).to_string();
            assert!(error.contains("--from-start"), "{error}");
        }
    }

    #[test]
    fn another_population_has_another_name_and_is_refused_under_the_same() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("checkpoint");
        let source = |seed| Source::Population(Population::new(10, 1, seed, "m"));
        let name =
            |seed, target| Checkpoint::new(None, &source(seed), target).expect("is one").path().to_owned();
        assert_eq!(name(1, "http://a"), name(1, "http://a"));
        assert!(name(1, "http://a") != name(2, "http://a") && name(1, "http://a") != name(1, "http://b"));
        let at = |seed| Checkpoint::new(Some(&path), &source(seed), "http://a").expect("is one");
        at(1).write(Place { number: 5, end: 0 }, 0).expect("writes");
        let error = at(2).read().expect_err("is another's").to_string();
        assert!(error.contains("seed 1") && error.contains("--checkpoint"), "{error}");
    }
}
