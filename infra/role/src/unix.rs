//! Unix socket files: a stale one is replaced, a live one is not.
//!
//! Owns: the life of such a file. Invariant: a socket's file outlives its process; whether a
//! process listens behind it shows by connecting, and a refused connection means that none does.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use bus::OwnsFile;

/// Binds `path`, non-blocking, with the permissions `mode`. The file of a process that has ended is
/// removed first.
///
/// # Errors
/// `AddrInUse` when a process listens on it; `AlreadyExists` when the file is no socket; `NotFound`
/// when its directory is missing; else the system's reason.
pub fn bind(path: &Path, mode: u32) -> io::Result<(UnixListener, SocketFile)> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(missing) = path.parent().filter(|dir| !dir.as_os_str().is_empty() && !dir.exists()) {
                let reason = format!("the directory {} is missing", missing.display());
                return Err(io::Error::new(io::ErrorKind::NotFound, reason));
            }
        }
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket is there"));
        }
        Ok(_) => match UnixStream::connect(path) {
            Ok(_) => return Err(io::Error::new(io::ErrorKind::AddrInUse, "a process listens on it")),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
            Err(error) => return Err(error),
        },
    }
    let listener = UnixListener::bind(path)?;
    let file = SocketFile::adopt(path, OwnsFile::new(true));
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    listener.set_nonblocking(true)?;
    Ok((listener, file))
}

/// The file of a bound socket; removed when dropped.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    owns_file: OwnsFile,
}

impl SocketFile {
    /// The file of an inherited socket; it is removed in the end if `owns_file` is true then.
    #[must_use]
    pub fn adopt(path: &Path, owns_file: OwnsFile) -> Self {
        Self { path: path.to_owned(), owns_file }
    }

    /// True in it when this process removes the file; shared with whatever passes the socket on.
    #[must_use]
    pub fn owner(&self) -> OwnsFile {
        self.owns_file.clone()
    }

    /// Leaves the file in place: another process has its socket now.
    pub fn keep(self) {
        self.owns_file.set(false);
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.owns_file.get() {
            // It may have been removed already; a file that stays is replaced by the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_socket_is_refused_and_a_stale_one_replaced() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.sock");
        let (listener, file) = bind(&path, 0o600).expect("binds");
        assert_eq!(bind(&path, 0o600).expect_err("is in use").kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        let (_listener, _file) = bind(&path, 0o600).expect("replaces it");
        file.keep();
        assert!(path.exists());
    }

    #[test]
    fn the_file_has_the_mode_and_is_removed_with_its_owner() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.sock");
        let bound = bind(&path, 0o666).expect("binds");
        let mode = std::fs::metadata(&path).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o666);
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notes.txt");
        std::fs::write(&path, "mine").expect("writes");
        assert_eq!(bind(&path, 0o600).expect_err("is no socket").kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&path).expect("is there"), "mine");
    }
}
