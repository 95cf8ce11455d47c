//! The binary of a role, as it was when the role was started last.
//!
//! Owns finding it again. Invariant: a role that dies is started from the same file as before, also
//! when another file has its path now: only `stack upgrade` changes the binary of a role.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// An open binary.
#[derive(Debug)]
pub struct Binary {
    path: PathBuf,
    file: File,
}

impl Binary {
    /// The binary that is at `path` now.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: File::open(path)? })
    }

    /// A path at which it can be executed: its own, or that of the open file when the path has
    /// another file now.
    #[must_use]
    pub fn program(&self) -> PathBuf {
        let id = |found: Metadata| (found.dev(), found.ino());
        let is_there = std::fs::metadata(&self.path).map(id).ok() == self.file.metadata().map(id).ok();
        if is_there || !cfg!(target_os = "linux") {
            return self.path.clone();
        }
        // The process that executes it is a child, to which this one still belongs.
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()))
    }
}

#[cfg(test)]
mod tests {
    use super::Binary;

    #[test]
    fn replaced_file_is_executed_as_it_was() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("role");
        std::fs::copy("/bin/true", &path).expect("copies");
        let binary = Binary::open(&path).expect("opens");
        assert_eq!(binary.program(), path);
        let fresh = dir.path().join("fresh");
        std::fs::copy("/bin/false", &fresh).expect("copies");
        std::fs::rename(&fresh, &path).expect("replaces");
        assert!(std::process::Command::new(binary.program()).status().expect("runs").success());
        assert!(!std::process::Command::new(&path).status().expect("runs").success());
    }
}
