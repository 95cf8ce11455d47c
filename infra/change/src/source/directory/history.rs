//! The log of a directory's changes: `history.jsonl`, one JSON object a line, the oldest first.
//!
//! Owns its format and its bound. Records what the operator's commands write; a change made by an
//! editor is in no log. Invariant: callers hold the writers' lock.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use crate::source::file;
use crate::source::request::Change;

const FILE: &str = "history.jsonl";

/// Above this length the older half is dropped.
const LEN_MAX: usize = 4 * 1024 * 1024;

/// Appends one change.
pub(super) fn append(root: &Path, change: &Change) -> io::Result<()> {
    let path = root.join(FILE);
    let mut line = serde_json::to_vec(change).expect("is plain data");
    // A document may have been written over several lines.
    line.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    line.push(b'\n');
    let len = fs::metadata(&path).map_or(0, |found| found.len());
    if len + line.len() as u64 > LEN_MAX as u64 {
        let content = fs::read(&path)?;
        let half = content.len() / 2;
        let cut =
            content[half..].iter().position(|byte| *byte == b'\n').map_or(content.len(), |at| half + at + 1);
        return file::replace(&path, &[&content[cut..], &line].concat());
    }
    OpenOptions::new().create(true).append(true).open(&path)?.write_all(&line)
}

/// The changes of one key, the newest first. A line that was cut off by a crash is passed over.
pub(super) fn read(root: &Path, key: &str) -> io::Result<Vec<Change>> {
    let content = match fs::read(root.join(FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        content => content?,
    };
    let lines = content.split(|byte| *byte == b'\n').rev();
    let changes = lines.filter_map(|line| serde_json::from_slice::<Change>(line).ok());
    Ok(changes.filter(|change| change.key == key).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Revision;

    fn change(key: &str, at_ms: u64, len: usize) -> Change {
        let document =
            serde_json::value::RawValue::from_string(format!("{{\"a\":\n\"{}\"}}", "x".repeat(len)));
        Change {
            at_ms,
            who: "ann".to_owned(),
            key: key.to_owned(),
            before: Revision(0),
            after: Revision(at_ms),
            document: document.ok(),
        }
    }

    #[test]
    fn the_log_is_bounded_and_keeps_the_newest() {
        let dir = tempfile::tempdir().expect("makes a directory");
        for at in 0..60 {
            append(dir.path(), &change(["toggles/a", "toggles/b"][usize::from(at % 2 == 1)], at, 200_000))
                .expect("appends");
        }
        let len = fs::metadata(dir.path().join(FILE)).expect("exists").len();
        assert!(len <= LEN_MAX as u64, "{len}");
        let changes = read(dir.path(), "toggles/b").expect("reads");
        let times: Vec<_> = changes.iter().map(|change| change.at_ms).collect();
        assert_eq!(times[..3], [59, 57, 55]);
        assert!(times.len() < 30, "the older half was dropped");
    }

    #[test]
    fn a_line_cut_off_by_a_crash_is_passed_over() {
        let dir = tempfile::tempdir().expect("makes a directory");
        append(dir.path(), &change("toggles/a", 1, 3)).expect("appends");
        let path = dir.path().join(FILE);
        let whole = fs::read(&path).expect("reads");
        fs::write(&path, [&whole[..], &whole[..20], b"\n"].concat()).expect("writes");
        append(dir.path(), &change("toggles/a", 2, 3)).expect("appends");
        let changes = read(dir.path(), "toggles/a").expect("reads");
        assert_eq!(changes.iter().map(|change| change.at_ms).collect::<Vec<_>>(), [2, 1]);
    }
}
