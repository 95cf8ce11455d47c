//! Files that are replaced whole: a reader sees the old content or the new one, also after a crash.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Replaces `path` by way of a hidden file beside it, synced before it takes the name.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let fresh = folder.join(format!(".{name}.{}.new", std::process::id()));
    let written = File::create(&fresh).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    let replaced =
        written.and_then(|()| fs::rename(&fresh, path)).and_then(|()| File::open(folder)?.sync_all());
    if replaced.is_err() {
        // The file may not exist.
        let _ = fs::remove_file(&fresh);
    }
    replaced
}
