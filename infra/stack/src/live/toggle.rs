//! `stack toggle`: shows, writes and switches the toggles of a plan.
//!
//! Owns the commands and the edit that switches a toggle. Leaves the check of documents and
//! compare-and-swap to `change`. Invariant: switching changes the value of `enabled` and no other
//! byte of the document.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use change::document::{DOCUMENT_LEN_MAX, Fault, Key, KeyError, Kind, Revision, check, parse, with_field};
use change::source::{Change, Expected, Source, Write};
use change::toggle::Feature;
use serde::Serialize;
use serde_json::value::RawValue;

use super::error::Error;
use super::origin::{Origin, who};
use super::output::{Output, table, time};

const EXAMPLES: &str = "Examples:
  stack toggle ls                              the toggles of the stack that runs in this directory
  echo '{\"name\":\"shout\",\"enabled\":false}' | stack toggle set shout -
  stack toggle on shout                        every terminator has it within a second
  stack toggle history shout                   who changed it, and when
  stack toggle ls --etcd http://10.0.0.5:2379  the same in etcd
  stack toggle show shout -o json              with its revision, for: stack toggle set --revision

A change is made only if the document is still as this command has read it; otherwise it is refused, and nothing is lost.

Exit code: 0 done, 1 failure, 2 usage.";

/// Shows and changes toggles.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// What to do.
    #[command(subcommand)]
    pub task: Task,
    /// The form of the output.
    #[command(flatten)]
    pub output: Output,
    /// Where the plan is.
    #[command(flatten)]
    pub origin: Origin,
}

/// What to do with toggles.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Task {
    /// Lists all toggles.
    Ls,
    /// Prints a toggle's document.
    Show {
        /// The toggle.
        #[arg(value_parser = key)]
        name: Key,
    },
    /// Writes a toggle's document: a feature in the format of Unleash's client API.
    Set {
        /// The toggle.
        #[arg(value_parser = key)]
        name: Key,
        /// The file with the document; - for standard input.
        file: PathBuf,
        /// The revision that the document must have now, as `show -o json` prints it; 0 when it
        /// must not exist.
        #[arg(long, value_name = "N")]
        revision: Option<Revision>,
    },
    /// Switches a toggle on.
    On {
        /// The toggle.
        #[arg(value_parser = key)]
        name: Key,
    },
    /// Switches a toggle off.
    Off {
        /// The toggle.
        #[arg(value_parser = key)]
        name: Key,
    },
    /// Lists who changed a toggle, the newest change first.
    History {
        /// The toggle.
        #[arg(value_parser = key)]
        name: Key,
    },
}

fn key(name: &str) -> Result<Key, KeyError> {
    Key::toggle(name)
}

/// A toggle in the list.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    /// `None` for a toggle that has never been valid.
    enabled: Option<bool>,
    strategies: Vec<String>,
    variants: Vec<String>,
    revision: Revision,
    /// Why the document, or its newest version, is not in force.
    refused: Option<String>,
}

/// A toggle's document.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    name: &'a str,
    revision: Revision,
    document: Box<RawValue>,
}

/// What a write did.
#[derive(Debug, Serialize)]
pub(super) struct Written {
    pub(super) key: String,
    pub(super) before: Revision,
    pub(super) revision: Revision,
    pub(super) who: String,
}

/// Runs `stack toggle`.
///
/// # Errors
/// Why it did not do what it was told.
pub async fn run(options: &Options) -> Result<(), Error> {
    let Options { task, output, origin } = options;
    match task {
        Task::Ls => output.show(&rows(&origin.read().await?), |rows| listed(rows)),
        Task::Show { name } => show(&origin.open()?, name, *output).await?,
        Task::Set { name, file, revision } => {
            let document = read(name, file)?;
            set(&origin.open()?, name, document, *revision, *output).await?;
        }
        Task::On { name } => switch(&origin.open()?, name, true, *output).await?,
        Task::Off { name } => switch(&origin.open()?, name, false, *output).await?,
        Task::History { name } => output.show(&origin.open()?.history(name).await?[..], past),
    }
    Ok(())
}

fn rows(source: &Source) -> Vec<Row> {
    let (plan, mut rows) = (source.plan(), BTreeMap::new());
    let plan = plan.borrow();
    for (key, document) in plan.of(Kind::Toggle) {
        let Ok(feature) = document.parse::<Feature>() else { continue };
        let row = Row {
            name: key.name().to_owned(),
            enabled: Some(feature.enabled),
            strategies: feature.strategies_shown(),
            variants: feature.variants.into_iter().map(|variant| variant.name).collect(),
            revision: document.revision,
            refused: None,
        };
        rows.insert(row.name.clone(), row);
    }
    for (name, refusal) in plan.refused() {
        let Some(name) = name.strip_prefix(Kind::Toggle.folder()).and_then(|rest| rest.strip_prefix('/'))
        else {
            continue;
        };
        let row = rows.entry(name.to_owned()).or_insert_with(|| Row {
            name: name.to_owned(),
            enabled: None,
            strategies: Vec::new(),
            variants: Vec::new(),
            revision: refusal.revision,
            refused: None,
        });
        row.refused = Some(refusal.fault.to_string());
    }
    rows.into_values().collect()
}

fn listed(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "no toggles; `stack toggle set NAME FILE` writes one".to_owned();
    }
    let heading = ["TOGGLE", "STATE", "STRATEGIES", "VARIANTS", "REVISION"].map(str::to_owned).to_vec();
    let cells = rows.iter().map(|row| {
        let state = match (row.enabled, &row.refused) {
            (Some(true), _) => "on".to_owned(),
            (Some(false), _) => "off".to_owned(),
            (None, reason) => format!("refused: {}", reason.as_deref().unwrap_or_default()),
        };
        let (strategies, variants) = (row.strategies.join(", "), row.variants.join(", "));
        vec![row.name.clone(), state, strategies, variants, row.revision.to_string()]
    });
    table(&std::iter::once(heading).chain(cells).collect::<Vec<_>>())
}

async fn show(source: &Source, key: &Key, output: Output) -> Result<(), Error> {
    let (text, revision) = present(source, key).await?;
    let document: Box<RawValue> = parse(&text).map_err(|fault| Error::Broken { key: key.clone(), fault })?;
    output.show(&Shown { name: key.name(), revision, document }, |_| text.clone());
    Ok(())
}

/// The text of a document that is there.
async fn present(source: &Source, key: &Key) -> Result<(String, Revision), Error> {
    let found = source.get(key).await?;
    let (bytes, revision) = found.ok_or_else(|| Error::Absent(key.clone()))?;
    Ok((String::from_utf8_lossy(&bytes).into_owned(), revision))
}

async fn set(
    source: &Source,
    key: &Key,
    document: String,
    revision: Option<Revision>,
    output: Output,
) -> Result<(), Error> {
    let before = match revision {
        Some(revision) => revision,
        None => source.get(key).await?.map_or(Revision(0), |(_, revision)| revision),
    };
    let written = write(source, key, document, before).await?;
    let verb = if before == Revision(0) { "created" } else { "replaced" };
    output.show(&written, |written| format!("{} is {verb}, revision {}", written.key, written.revision));
    Ok(())
}

async fn switch(source: &Source, key: &Key, enabled: bool, output: Output) -> Result<(), Error> {
    let (text, before) = present(source, key).await?;
    let broken = |fault| Error::Broken { key: key.clone(), fault };
    check(key.kind(), text.as_bytes()).map_err(broken)?;
    let state = if enabled { "on" } else { "off" };
    let value = if enabled { "true" } else { "false" };
    let Some(document) = with_field(&text, "enabled", value).map_err(broken)? else {
        let unchanged = Written { key: key.to_string(), before, revision: before, who: who() };
        output.show(&unchanged, |written| format!("{} is {state} already", written.key));
        return Ok(());
    };
    let written = write(source, key, document, before).await?;
    output.show(&written, |written| format!("{} is {state}, revision {}", written.key, written.revision));
    Ok(())
}

/// Writes a document that has had the revision `before`.
pub(super) async fn write(
    source: &Source,
    key: &Key,
    document: String,
    before: Revision,
) -> Result<Written, Error> {
    let (expected, who) = (Expected::At(before), who());
    let write = Write { key: key.clone(), document: Some(document), expected, who: Some(who.clone()) };
    let revision = source.write(write).await?;
    Ok(Written { key: key.to_string(), before, revision, who })
}

/// A toggle's document from a file, checked.
fn read(key: &Key, file: &Path) -> Result<String, Error> {
    let text = read_checked(key.kind(), file)?;
    let wrong = |fault: Fault| Error::Document { file: file.to_owned(), fault: fault.located(&text) };
    let feature: Feature = parse(&text).map_err(wrong)?;
    if feature.name != key.name() {
        let reason = format!("is `{}`, and the toggle is {}: write the same name", feature.name, key.name());
        return Err(wrong(Fault::at("name", reason)));
    }
    Ok(text)
}

/// A document of `kind` from a file, or from standard input for `-`.
pub(super) fn read_checked(kind: Kind, file: &Path) -> Result<String, Error> {
    use std::io::Read;
    let failed = |source| Error::File { path: file.to_owned(), source };
    let reader: Box<dyn Read> = match file.as_os_str() == "-" {
        true => Box::new(std::io::stdin().lock()),
        false => Box::new(std::fs::File::open(file).map_err(failed)?),
    };
    let mut bytes = Vec::new();
    // One byte more than the limit fails the check.
    reader.take(DOCUMENT_LEN_MAX as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    let checked = check(kind, &bytes).map(str::to_owned);
    checked.map_err(|fault| Error::Document { file: file.to_owned(), fault })
}

fn past(changes: &[Change]) -> String {
    if changes.is_empty() {
        return "no changes by `stack`; changes by an editor are in no history".to_owned();
    }
    let heading = ["TIME", "WHO", "STATE", "BEFORE", "AFTER"].map(str::to_owned).to_vec();
    let cells = changes.iter().map(|change| {
        let state = match &change.document {
            None => "removed",
            Some(document) => match parse::<Feature>(document.get()) {
                Ok(feature) if feature.enabled => "on",
                Ok(_) => "off",
                Err(_) => "unreadable",
            },
        };
        let (before, after) = (change.before.to_string(), change.after.to_string());
        vec![time(change.at_ms), change.who.clone(), state.to_owned(), before, after]
    });
    table(&std::iter::once(heading).chain(cells).collect::<Vec<_>>())
}
