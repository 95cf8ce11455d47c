//! Why a command of live change did not do what it was told.
//!
//! Owns the error texts. Invariant: each names the value and the remedy.

use std::path::PathBuf;
use std::time::Duration;

use change::document::{Fault, Key};
use change::orders::OrderError;
use change::rollout::Command;
use change::source::SourceError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source refused, or could not be reached.
    #[error("{0}")]
    Source(#[from] SourceError),
    /// The source has no plan to show.
    #[error("{source_name}: {reason}; start the stack, or name the plan with --plan DIR or --etcd URL")]
    Unreadable {
        /// The directory, or etcd's URLs.
        source_name: String,
        /// What the source said.
        reason: String,
    },
    /// A document is absent.
    #[error("{0} does not exist; `{command} ls` lists what does", command = command_of(_0))]
    Absent(Key),
    /// The file holds no valid document.
    #[error("{}: {fault}", file.display())]
    Document {
        /// The file, `-` for standard input.
        file: PathBuf,
        /// What is wrong, and where.
        fault: Fault,
    },
    /// The flags describe no valid rollout.
    #[error("{}{}", if fault.path.is_empty() { String::new() } else { format!("{}: ", fault.path) }, fault.reason)]
    Flags {
        /// What is wrong.
        fault: Fault,
    },
    /// The document in the source does not parse, so it cannot be edited.
    #[error("{key}: {fault}; replace it: stack toggle set {} FILE", key.name())]
    Broken {
        /// The document.
        key: Key,
        /// What is wrong, and where.
        fault: Fault,
    },
    /// Another rollout of the service is in progress.
    #[error(
        "a rollout of {service} from {stable} to {candidate} {}; wait for its end, or replace it with --replace",
        state.as_deref().map_or_else(|| "has just been started".to_owned(), |state| format!("is {state}"))
    )]
    Underway {
        /// The service.
        service: String,
        /// Its stable version.
        stable: String,
        /// Its candidate.
        candidate: String,
        /// The phase and the share; `None` when no terminator has taken it up yet.
        state: Option<String>,
    },
    /// The order cannot be given, or was refused.
    #[error("{0}")]
    Order(#[from] OrderError),
    /// No terminator has read the order in time.
    #[error(
        "the order to {} {service} is written, and no terminator has read it within {}; it is obeyed as \
         soon as one decides: `stack rollout status {service}` shows it",
        command.name(), humantime::format_duration(*wait)
    )]
    Unheard {
        /// The service.
        service: String,
        /// What was ordered.
        command: Command,
        /// How long it was waited for.
        wait: Duration,
    },
    /// The terminator knows no rollout of the service.
    #[error("the terminator at {admin} has no rollout of {service}; it has: {known}")]
    NoRollout {
        /// The service.
        service: String,
        /// The admin address.
        admin: String,
        /// The services with a rollout.
        known: String,
    },
    /// The terminator's admin listener does not answer.
    #[error(
        "--admin {admin}: {reason}; start the stack, or give --admin the address of a terminator's admin listener"
    )]
    Admin {
        /// The address.
        admin: String,
        /// What happened.
        reason: String,
    },
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The runtime could not be created.
    #[error("system error: {0}")]
    System(#[from] std::io::Error),
}

fn command_of(key: &Key) -> &'static str {
    match key.kind() {
        change::document::Kind::Rollout => "stack rollout",
        _ => "stack toggle",
    }
}
