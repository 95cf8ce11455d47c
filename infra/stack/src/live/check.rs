//! `stack plan check`: all documents of a directory, checked as a terminator checks them.
//!
//! Owns what is reported and how. Leaves the checks to `change`. Invariant: every fault is one
//! that keeps a document out of force; a warning changes nothing.

use std::path::{Path, PathBuf};

use change::document::{Document, Fault, Key, Kind};
use change::source::{PlanSettings, Source};
use change::toggle::{Feature, Segment, Set};
use serde::Serialize;

use super::error::Error;
use super::origin;
use super::output::Output;

const EXAMPLES: &str = "Examples:
  stack plan check plan            every document; a fault is FILE:LINE:COLUMN: error: FIELD: REASON
  stack plan check plan -o json    the same for a program

Exit code: 0 no faults (warnings are none), 1 faults, or the directory cannot be read, 2 usage.";

/// Checks plans.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// What to do.
    #[command(subcommand)]
    pub task: Task,
    /// The form of the output.
    #[command(flatten)]
    pub output: Output,
}

/// What to do with a plan.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Task {
    /// Checks every document of a directory, and warns of toggles that cannot mean what was
    /// intended.
    #[command(after_help = EXAMPLES)]
    Check {
        /// The directory of the plan.
        directory: PathBuf,
    },
}

/// What a check found.
#[derive(Debug, Serialize)]
struct Report {
    /// Documents without a fault.
    documents: usize,
    faults: Vec<Finding>,
    warnings: Vec<Finding>,
}

/// One fault or warning.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Finding {
    file: PathBuf,
    /// First is 1; 0 when it is in no single place.
    line: usize,
    /// First is 1; 0 when it is in no single place.
    column: usize,
    /// Empty for the whole document.
    field: String,
    reason: String,
}

/// Runs `stack plan`. Returns true without faults.
///
/// # Errors
/// The directory cannot be read.
pub async fn run(options: &Options) -> Result<bool, Error> {
    let Task::Check { directory } = &options.task;
    let listed = std::fs::read_dir(directory);
    listed.map_err(|source| Error::File { path: directory.clone(), source })?;
    let settings = PlanSettings { directory: Some(directory.clone()), ..Default::default() };
    let report = report(directory, &origin::read(&settings).await?);
    options.output.show(&report, text);
    Ok(report.faults.is_empty())
}

fn report(directory: &Path, source: &Source) -> Report {
    let status = source.status();
    let file = |key: &str| directory.join(format!("{key}.json"));
    let faults = status.refused.iter().map(|refused| Finding {
        file: file(&refused.key),
        line: refused.line,
        column: refused.column,
        field: refused.path.clone(),
        reason: refused.reason.clone(),
    });
    let mut faults: Vec<_> = faults.collect();
    let (plan, mut warnings) = (source.plan(), Vec::new());
    let plan = plan.borrow();
    let mut warn = |key: &Key, document: &Document, path: &str, reason: String| {
        let Fault { line, column, path, reason } = Fault::at(path, reason).located(&document.text);
        warnings.push(Finding { file: file(&key.to_string()), line, column, field: path, reason });
    };
    // What is in force has passed its check, so it parses.
    let toggles: Vec<(&Key, &Document, Feature)> = plan
        .of(Kind::Toggle)
        .filter_map(|(key, document)| Some((key, &**document, document.parse().ok()?)))
        .collect();
    for (key, document, feature) in &toggles {
        if feature.name != key.name() {
            let name = &feature.name;
            warn(key, document, "name", format!("the toggle's name is `{name}`, and not the file's"));
        }
    }
    let segments = plan.of(Kind::Segments).filter_map(|(_, document)| document.parse::<Vec<Segment>>().ok());
    let segments: Vec<Segment> = segments.flatten().collect();
    let features = toggles.iter().map(|(_, _, feature)| feature);
    let (_, found) = Set::compile(features, &segments, "");
    for warning in found {
        // Of two toggles with one name the later counts.
        let of = toggles.iter().rev().find(|(_, _, feature)| feature.name == warning.toggle);
        if let Some((key, document, _)) = of {
            warn(key, document, &warning.path, warning.message);
        }
    }
    faults.sort();
    warnings.sort();
    Report { documents: status.documents.len(), faults, warnings }
}

fn text(report: &Report) -> String {
    let line = |kind: &'static str| {
        move |found: &Finding| {
            let at = if found.line > 0 { format!(":{}:{}", found.line, found.column) } else { String::new() };
            let field = if found.field.is_empty() { String::new() } else { format!("{}: ", found.field) };
            format!("{}{at}: {kind}: {field}{}\n", found.file.display(), found.reason)
        }
    };
    let faults = report.faults.iter().map(line("error"));
    let lines: String = faults.chain(report.warnings.iter().map(line("warning"))).collect();
    let (documents, faults, warnings) = (report.documents, report.faults.len(), report.warnings.len());
    format!("{lines}{documents} documents without faults, {faults} faults, {warnings} warnings\n")
}
