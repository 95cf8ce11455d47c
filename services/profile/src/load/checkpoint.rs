//! How far a file has been loaded. Stored beside the profiles.
//!
//! Owns the identity of the file, and the check that it is unchanged. Invariant: a checkpoint is
//! written in the transaction that writes the profiles before it, so both always agree.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use store::Subspace;
use xxhash_rust::xxh3::xxh3_64;

/// Bytes hashed at the beginning of a file, and as many before the checkpoint, to detect a replaced
/// file.
const PROBE_BYTES: u64 = 4096;

/// How far a file has been loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    /// Bytes loaded.
    pub(super) offset: u64,
    /// Lines loaded.
    pub(super) lines: u64,
    /// Profiles written.
    pub(super) loaded: u64,
    /// Lines skipped.
    pub(super) bad: u64,
    /// Hash of the file's first bytes and of the bytes before `offset`.
    hash: u64,
}

/// The key of a file's checkpoint. A file is identified by its path: one that grew continues where
/// it ended, and one that was replaced is detected by its bytes.
pub(super) fn key(path: &Path) -> Vec<u8> {
    let path = path.as_os_str().as_encoded_bytes();
    // The path is hashed because it may be longer than a key.
    Subspace::from("profile-load").pack(&(i64::from_ne_bytes(xxh3_64(path).to_ne_bytes()),))
}

impl Checkpoint {
    /// The checkpoint with the hash of `file`.
    ///
    /// # Errors
    /// `file` cannot be read.
    pub(super) fn sealed(mut self, file: &File) -> io::Result<Self> {
        self.hash = probe(file, self.offset)?;
        Ok(self)
    }

    /// True when `file` still begins with what was loaded.
    pub(super) fn is_of(&self, file: &File) -> io::Result<bool> {
        match probe(file, self.offset) {
            Ok(hash) => Ok(hash == self.hash),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn probe(file: &File, offset: u64) -> io::Result<u64> {
    let len = offset.min(PROBE_BYTES);
    let mut bytes = vec![0; 2 * usize::try_from(len).expect("at most PROBE_BYTES")];
    let (head, tail) = bytes.split_at_mut(usize::try_from(len).expect("at most PROBE_BYTES"));
    file.read_exact_at(head, 0)?;
    file.read_exact_at(tail, offset - len)?;
    Ok(xxh3_64(&bytes))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_that_grew_is_the_same_and_one_that_changed_is_not() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&b"{\"id\":1}\n".repeat(2000)).unwrap();
        let checkpoint = Checkpoint { offset: 9 * 1500, ..Checkpoint::default() }.sealed(&file).unwrap();
        file.write_all(b"more").unwrap();
        assert!(checkpoint.is_of(&file).unwrap());
        file.write_all_at(b"x", 9 * 1500 - 2).unwrap();
        assert!(!checkpoint.is_of(&file).unwrap());
        file.set_len(10).unwrap();
        assert!(!checkpoint.is_of(&file).unwrap());
    }
}
