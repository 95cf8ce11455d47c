//! Unix socket files: a stale one is taken over, a live one is not.
//!
//! A socket's file outlives its process. Whether anybody listens behind it shows by connecting:
//! refused means that no process does.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use bus::OwnsFile;

/// Binds `path`, non-blocking. A stale file of a dead process is removed first.
///
/// # Errors
/// `AddrInUse` when a process listens on it; `AlreadyExists` when the file is no socket; `NotFound`
/// when its directory is missing; else what the system says.
pub(super) fn bind(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
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
    // As nginx's: a proxy runs as another user. Who may come near is a matter of the directory.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
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
    /// Of a socket that was inherited, to be removed in the end if `owns_file` says so then.
    pub(super) fn adopt(path: &Path, owns_file: OwnsFile) -> Self {
        Self { path: path.to_owned(), owns_file }
    }

    /// Who removes it.
    pub(super) fn owner(&self) -> OwnsFile {
        self.owns_file.clone()
    }

    /// Leaves the file to another process, which has got the socket.
    pub fn leave(self) {
        self.owns_file.set(false);
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.owns_file.get() {
            // Somebody may have removed it already; one that stays is replaced by the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_socket_is_refused_and_a_stale_one_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("http.sock");
        let (listener, file) = bind(&path).unwrap();
        assert_eq!(bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        let (_listener, _file) = bind(&path).unwrap();
        std::mem::forget(file);
    }

    #[test]
    fn the_file_goes_with_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("http.sock");
        let bound = bind(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o666, "a proxy of another user can connect");
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes.txt");
        std::fs::write(&path, "mine").unwrap();
        assert_eq!(bind(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }
}
