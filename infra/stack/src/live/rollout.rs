//! `stack rollout`: begins a rollout, shows how far rollouts are, and orders what they do.
//!
//! Owns the document that flags describe, and the refusal to replace a rollout in progress. Leaves
//! the text of a status to `status` and `watch`, orders to `order`, and moving shares to the
//! terminators. Invariant: a rollout in
//! progress is replaced only by order.

use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use change::document::{Fault, Key, Kind, Revision, check, parse, with_field};
use change::orders::stored;
use change::rollout::{Command, Document};
use change::source::Source;
use serde_json::{Value, json};

use super::error::Error;
use super::order::{self, Ordered};
use super::origin::Origin;
use super::output::Output;
use super::toggle::{read_checked, write};
use super::{status, watch};

const EXAMPLES: &str = "Examples:
  stack rollout start profile --stable 1 --candidate 2
      1 %, 10 %, 50 % and 100 % of the requests, each for 60 s at least; taken back by itself when it is worse
  stack rollout start profile --stable 1 --candidate 2 --stages 5,100 --stage-seconds 10 --min-requests 100
  stack rollout start profile rollout.json     a document of your own (docs/live-change.md)
  stack rollout status profile                 from the terminator whose admin listener is 127.0.0.1:8081
  stack rollout watch profile                  a line for each change until it ends
  stack rollout pause profile                  hold the share; resume repeats the stage
  stack rollout abort profile                  send the candidate no more requests
  stack rollout promote profile                send the candidate all requests, whatever the verdict
  stack rollout ls --admin 10.0.0.5:8081 -o json

Exit code: 0 done (watch: the candidate has taken over), 1 failure (watch: it was taken back), 2 usage.";

/// Begins, shows and steers rollouts.
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
    /// Prints a line for each change of the rollout of a service, until it ends.
    Watch {
        /// The service.
        service: String,
        /// The terminator.
        #[command(flatten)]
        asked: Asked,
    },
    /// Holds the share of a rollout; a worse candidate is still taken back.
    Pause(Ordered),
    /// Repeats the stage of a paused rollout.
    Resume(Ordered),
    /// Sends the candidate no more requests, and ends the rollout. A completed rollout can be
    /// aborted too.
    Abort(Ordered),
    /// Sends the candidate all requests, whatever the verdict, and ends the rollout.
    Promote(Ordered),
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
    #[arg(value_parser = order::key)]
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

/// Runs `stack rollout`. False when a watched rollout was taken back.
///
/// # Errors
/// Why it did not do what it was told.
pub async fn run(options: &Options) -> Result<bool, Error> {
    let output = options.output;
    match &options.task {
        Task::Start(start) => begin(start, output).await?,
        Task::Ls(asked) => status::list(&asked.admin, output).await?,
        Task::Status { service, asked } => status::one(&asked.admin, service, output).await?,
        Task::Watch { service, asked } => return watch::run(&asked.admin, service, output).await,
        Task::Pause(ordered) => order::run(ordered, Command::Pause, output).await?,
        Task::Resume(ordered) => order::run(ordered, Command::Resume, output).await?,
        Task::Abort(ordered) => order::run(ordered, Command::Abort, output).await?,
        Task::Promote(ordered) => order::run(ordered, Command::Promote, output).await?,
    }
    Ok(true)
}

async fn begin(start: &Start, output: Output) -> Result<(), Error> {
    let (text, document) = document(start)?;
    let source = start.origin.open()?;
    let (before, known) = replaceable(&source, start, &document).await?;
    let text = with_start(text, &document, known.as_ref())?;
    let written = write(&source, &start.service, text, before).await?;
    let (service, Document { stable, candidate, .. }) = (start.service.name(), document);
    let verb = if known.is_some() { "continues with other stages" } else { "begins" };
    output.show(&written, |written| {
        let revision = written.revision;
        format!("the rollout of {service} from {stable} to {candidate} {verb}, revision {revision}")
    });
    Ok(())
}

/// The document with its start, by which terminators tell it from an earlier rollout of the same
/// versions: now, or that of the rollout that it continues, whose order it keeps.
fn with_start(text: String, document: &Document, known: Option<&Document>) -> Result<String, Error> {
    let now_ms = UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
    if document.order.is_some() {
        let reason = "is of an earlier rollout: remove it, and order with `stack rollout pause` and so on";
        return Err(Error::Flags { fault: Fault::at("order", reason.to_owned()).located(&text) });
    }
    let order = known.and_then(|known| known.order.as_ref());
    let order = order.map(|order| serde_json::to_string(order).expect("an order is plain data"));
    let start = match known {
        // A document without a start continues one without a start.
        Some(known) => known.start_ms.map(|start| start.to_string()),
        None => Some(now_ms.to_string()),
    };
    let mut text = text;
    for (name, value) in [("start_ms", start), ("order", order)] {
        let Some(value) = value else { continue };
        let edited = with_field(&text, name, &value).map_err(|fault| Error::Flags { fault })?;
        text = edited.unwrap_or(text);
    }
    Ok(text)
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

/// The revision of the service's present document, when `new` may take its place, and that document
/// when `new` continues its rollout.
async fn replaceable(
    source: &Source,
    start: &Start,
    new: &Document,
) -> Result<(Revision, Option<Document>), Error> {
    let service = start.service.name();
    let Some((bytes, revision)) = source.get(&start.service).await? else { return Ok((Revision(0), None)) };
    // A document that does not parse is of no rollout in progress.
    let known = std::str::from_utf8(&bytes).ok().and_then(|text| parse::<Document>(text).ok());
    let Some(known) = known else { return Ok((revision, None)) };
    let state = stored(source, service).await?.filter(|state| state.is_of(&known));
    if state.as_ref().is_some_and(|state| !state.phase.is_live()) {
        return Ok((revision, None));
    }
    if start.replace {
        let is_same = (&known.stable, &known.candidate) == (&new.stable, &new.candidate);
        return Ok((revision, is_same.then_some(known)));
    }
    let state = state.map(|state| format!("{} with {}", state.phase, state.percent));
    let (stable, candidate) = (known.stable, known.candidate);
    Err(Error::Underway { service: service.to_owned(), stable, candidate, state })
}
