//! `stack rollout`: begins a rollout, and shows how far rollouts are.
//!
//! Owns the document that flags describe, and the refusal to replace a rollout in progress. Leaves
//! the text of a status to `status`, and moving shares to the terminators. Invariant: a rollout in
//! progress is replaced only by order.

use std::path::PathBuf;

use change::document::{Fault, Key, KeyError, Kind, Revision, check, parse};
use change::rollout::{Document, State};
use change::source::Source;
use serde_json::{Value, json};

use super::error::{Error, phase_name};
use super::origin::Origin;
use super::output::Output;
use super::status;
use super::toggle::{read_checked, write};

const EXAMPLES: &str = "Examples:
  stack rollout start profile --stable 1 --candidate 2
      1 %, 10 %, 50 % and 100 % of the requests, each for 60 s at least; taken back by itself when it is worse
  stack rollout start profile --stable 1 --candidate 2 --stages 5,100 --stage-seconds 10 --min-requests 100
  stack rollout start profile rollout.json     a document of your own (docs/live-change.md)
  stack rollout status profile                 from the terminator whose admin listener is 127.0.0.1:8081
  stack rollout ls --admin 10.0.0.5:8081 -o json

Exit code: 0 done, 1 failure, 2 usage.";

/// Begins and shows rollouts.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// What to do.
    #[command(subcommand)]
    pub task: Task,
    /// The form of the output.
    #[command(flatten)]
    pub output: Output,
}

/// What to do with rollouts.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Task {
    /// Begins a rollout: writes its document.
    Start(Box<Start>),
    /// Lists the rollouts of a terminator.
    Ls(Asked),
    /// Shows the rollout of a service.
    Status {
        /// The service.
        service: String,
        /// The terminator.
        #[command(flatten)]
        asked: Asked,
    },
}

/// The terminator that is asked.
#[derive(Clone, Debug, clap::Args)]
pub struct Asked {
    /// The address of a terminator's admin listener.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8081")]
    pub admin: String,
}

/// A rollout to begin.
#[derive(Clone, Debug, clap::Args)]
pub struct Start {
    /// The service.
    #[arg(value_parser = key)]
    pub service: Key,
    /// The file with the document, instead of the flags; - for standard input.
    #[arg(required_unless_present_all = ["stable", "candidate"],
        conflicts_with_all = ["stable", "candidate", "stages", "stage_seconds", "min_requests"])]
    pub file: Option<PathBuf>,
    /// The version that serves the requests now.
    #[arg(long, value_name = "VERSION", requires = "candidate")]
    pub stable: Option<String>,
    /// The version that is to take over.
    #[arg(long, value_name = "VERSION", requires = "stable")]
    pub candidate: Option<String>,
    /// The shares of requests that the candidate gets one after the other, in percent.
    #[arg(long, value_name = "PERCENT,..", value_delimiter = ',', default_value = "1,10,50,100")]
    pub stages: Vec<f64>,
    /// Seconds that a stage lasts at least [default: 60].
    #[arg(long, value_name = "N")]
    pub stage_seconds: Option<u64>,
    /// Requests that a stage needs, of the candidate and of the control group each [default: 200].
    #[arg(long, value_name = "N")]
    pub min_requests: Option<u64>,
    /// Replace a rollout of the service that is in progress.
    #[arg(long)]
    pub replace: bool,
    /// Where the plan is.
    #[command(flatten)]
    pub origin: Origin,
}

fn key(service: &str) -> Result<Key, KeyError> {
    Key::new(Kind::Rollout, &[service])
}

/// Runs `stack rollout`.
///
/// # Errors
/// Why it did not do what it was told.
pub async fn run(options: &Options) -> Result<(), Error> {
    match &options.task {
        Task::Start(start) => begin(start, options.output).await,
        Task::Ls(asked) => status::list(&asked.admin, options.output).await,
        Task::Status { service, asked } => status::one(&asked.admin, service, options.output).await,
    }
}

async fn begin(start: &Start, output: Output) -> Result<(), Error> {
    let (text, document) = document(start)?;
    let source = start.origin.open()?;
    let before = replaceable(&source, start, &document).await?;
    let written = write(&source, &start.service, text, before).await?;
    let (service, Document { stable, candidate, .. }) = (start.service.name(), document);
    output.show(&written, |written| {
        let revision = written.revision;
        format!("the rollout of {service} from {stable} to {candidate} begins, revision {revision}")
    });
    Ok(())
}

/// The document of the file or of the flags, as text and as what it means.
fn document(start: &Start) -> Result<(String, Document), Error> {
    let text = match &start.file {
        Some(file) => read_checked(Kind::Rollout, file)?,
        None => {
            let text = format!("{:#}\n", of_flags(start));
            let wrong = |fault: Fault| Error::Flags { fault: Fault { line: 0, ..fault } };
            check(Kind::Rollout, text.as_bytes()).map_err(wrong)?;
            text
        }
    };
    let document = parse(&text).map_err(|fault| Error::Flags { fault })?;
    Ok((text, document))
}

fn of_flags(start: &Start) -> Value {
    let stages: Vec<Value> = start.stages.iter().map(|percent| json!({ "percent": percent })).collect();
    let mut document = json!({ "stable": start.stable, "candidate": start.candidate, "stages": stages });
    for (name, value) in [("stage_seconds", start.stage_seconds), ("min_requests", start.min_requests)] {
        if let Some(value) = value {
            document[name] = value.into();
        }
    }
    document
}

/// The revision of the service's present document, when `new` may take its place.
async fn replaceable(source: &Source, start: &Start, new: &Document) -> Result<Revision, Error> {
    let service = start.service.name();
    let state_key = Key::new(Kind::RolloutState, &[service]).expect("the service's name was checked");
    let state = source.get(&state_key).await?;
    let state: Option<State> = state.and_then(|(bytes, _)| serde_json::from_slice(&bytes).ok());
    let state_of = |document: &Document| {
        let same =
            |state: &&State| (&state.stable, &state.candidate) == (&document.stable, &document.candidate);
        state.as_ref().filter(same)
    };
    if let Some(state) = state_of(new).filter(|state| !state.phase.is_live()) {
        let (stable, candidate) = (state.stable.clone(), state.candidate.clone());
        return Err(Error::Ended { service: service.to_owned(), stable, candidate, phase: state.phase });
    }
    let Some((bytes, revision)) = source.get(&start.service).await? else { return Ok(Revision(0)) };
    // A document that does not parse is of no rollout in progress.
    let known = std::str::from_utf8(&bytes).ok().and_then(|text| parse::<Document>(text).ok());
    let Some(known) = known.filter(|_| !start.replace) else { return Ok(revision) };
    let state = state_of(&known);
    if state.is_some_and(|state| !state.phase.is_live()) {
        return Ok(revision);
    }
    let state = state.map(|state| format!("{} with {}", phase_name(state.phase), state.percent));
    let (stable, candidate) = (known.stable, known.candidate);
    Err(Error::Underway { service: service.to_owned(), stable, candidate, state })
}
