//! Parts of reports that several commands share.
//!
//! Owns keeping a run's files, verdicts on bounds, and writing tables into bench/README.md.

pub(crate) mod readme;
pub(crate) mod verdict;

use std::path::Path;

use anyhow::Result;
use serde::Serialize;

/// Writes `figures` as JSON into `file` of the directory `run`, and `markdown` into its report.md,
/// and prints the report.
///
/// # Errors
/// A file cannot be written.
pub(crate) fn keep(run: &Path, file: &str, figures: &impl Serialize, markdown: &str) -> Result<()> {
    std::fs::write(run.join(file), serde_json::to_string_pretty(figures)?)?;
    std::fs::write(run.join("report.md"), markdown)?;
    println!("\n{markdown}\nKept in {}", run.display());
    Ok(())
}
