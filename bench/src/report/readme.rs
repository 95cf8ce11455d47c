//! The tables of bench/README.md, each between its own markers.
//!
//! Invariant: text outside the markers never changes.

use std::path::Path;

use anyhow::{Context, Result};

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

/// Puts `text` between `<!-- WHAT:begin -->` and `<!-- WHAT:end -->`.
///
/// # Errors
/// A marker is missing, or the file cannot be written.
pub(crate) fn replace(what: &str, text: &str) -> Result<()> {
    replace_in(Path::new(README), what, text)
}

fn replace_in(file: &Path, what: &str, text: &str) -> Result<()> {
    let (begin, end) = (format!("<!-- {what}:begin -->"), format!("<!-- {what}:end -->"));
    let old = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let missing = || format!("{}: the line {begin} or {end} is missing", file.display());
    let (before, rest) = old.split_once(&begin).with_context(missing)?;
    let (_, after) = rest.split_once(&end).with_context(missing)?;
    let text = text.trim_end();
    std::fs::write(file, format!("{before}{begin}\n\n{text}\n\n{end}{after}"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("README.md");
        std::fs::write(&file, "a\n<!-- x:begin -->\nold\n<!-- x:end -->\nb\n").unwrap();
        replace_in(&file, "x", "new").unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text, "a\n<!-- x:begin -->\n\nnew\n\n<!-- x:end -->\nb\n");
        assert!(replace_in(&file, "y", "new").unwrap_err().to_string().contains("missing"));
    }
}
