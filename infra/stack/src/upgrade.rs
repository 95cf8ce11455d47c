//! `stack upgrade`: has a running stack replace its roles by the binaries that are on disk.
//!
//! Owns the command: it asks the stack at the control socket in the directory of `--data`, and
//! shows what the stack says. Leaves replacing to the stack (`server`). Invariant: exit code 0 only
//! when every role was replaced.

pub mod message;
pub mod server;

use std::fmt::Write;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::live::output::{Format, Output};
use crate::roles::ROLES;
use crate::{binaries, error};
use message::{Ask, Line, Replaced};

const EXAMPLES: &str = "Examples:
  cargo build --release && target/release/stack upgrade   every role, with the new binaries
  cargo run --release -- upgrade                          the same: builds, then replaces
  stack upgrade web profile                               two of them; they read DATA/web.toml and
                                                          DATA/profile.toml anew
  stack upgrade --data /srv/data --within 2m              of the stack that was started with this --data

Each role is replaced without a failed request (docs/restarts.md), the services first and the
terminator last. A new process that is not ready within --within is ended, the old one serves on,
and the roles after it are not touched.

Exit code: 0 when every role was replaced, 1 otherwise, 2 on usage.";

/// Replaces the roles of a running stack, one at a time, by the binaries that are on disk.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// Which roles; without any, all of them.
    #[arg(value_name = "ROLE", value_parser = ROLES)]
    pub roles: Vec<String>,

    /// The directory that the stack was started with.
    #[arg(long, value_name = "DIR", default_value = "./data")]
    pub data: PathBuf,

    /// How long the new process of a role may take until it is ready, the drain of the old one
    /// included.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = within)]
    pub within: Duration,

    /// Take the binaries as they are, also under `cargo run`.
    #[arg(long)]
    pub no_build: bool,

    /// The form of the output.
    #[command(flatten)]
    pub output: Output,
}

/// Why not all roles were replaced.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No stack runs with this directory.
    #[error(
        "--data {}: no stack runs with it ({source}); start one, or give the --data of the one that runs",
        data.display()
    )]
    NoStack {
        /// The value of `--data`.
        data: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The stack refused.
    #[error("{0}")]
    Refused(String),
    /// A role was not replaced.
    #[error("{role}: {reason}; {remains}{}", untouched_text(untouched))]
    Failed {
        /// The role.
        role: String,
        /// What the new process did.
        reason: String,
        /// What remains running.
        remains: String,
        /// Roles that were to follow.
        untouched: Vec<String>,
    },
    /// The stack ended, or speaks otherwise.
    #[error("the stack ended the conversation: {0}; look at its output")]
    Broken(std::io::Error),
    /// The binaries could not be built.
    #[error("{0}")]
    Build(#[from] error::Error),
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Report {
    replaced: Vec<Replaced>,
}

/// The control socket of the stack with this directory.
#[must_use]
pub fn socket(data: &Path) -> PathBuf {
    data.join("stack.sock")
}

/// Runs the command.
///
/// # Errors
/// Why not every role was replaced.
pub fn run(options: &Options) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default())
        .map_err(error::Error::System)?;
    runtime.block_on(async {
        let stream = UnixStream::connect(socket(&options.data)).await;
        let stream = stream.map_err(|source| Error::NoStack { data: options.data.clone(), source })?;
        binaries::ready(!options.no_build).await?;
        let within_ms = u64::try_from(options.within.as_millis()).unwrap_or(u64::MAX);
        let ask = Ask { roles: options.roles.clone(), within_ms };
        let mut replaced = Vec::new();
        let outcome = converse(stream, &ask, options.output, &mut replaced).await;
        if options.output.format == Format::Json {
            options.output.show(&Report { replaced }, |_| String::new());
        }
        outcome
    })
}

async fn converse(
    stream: UnixStream,
    ask: &Ask,
    output: Output,
    replaced: &mut Vec<Replaced>,
) -> Result<(), Error> {
    let mut stream = BufReader::new(stream);
    let mut text = serde_json::to_string(ask).expect("is plain data");
    text.push('\n');
    stream.write_all(text.as_bytes()).await.map_err(Error::Broken)?;
    loop {
        let mut text = String::new();
        if stream.read_line(&mut text).await.map_err(Error::Broken)? == 0 {
            return Err(Error::Broken(ErrorKind::UnexpectedEof.into()));
        }
        let line: Line = serde_json::from_str(&text).map_err(|error| Error::Broken(error.into()))?;
        match line {
            Line::Replaced(role) => {
                if output.format == Format::Text {
                    output.show(&role, describe);
                }
                replaced.push(role);
            }
            Line::Complete => return Ok(()),
            Line::Refused { reason } => return Err(Error::Refused(reason)),
            Line::Failed { role, reason, remains, untouched } => {
                return Err(Error::Failed { role, reason, remains, untouched });
            }
        }
    }
}

fn describe(role: &Replaced) -> String {
    let Replaced { role, old, new, ms } = role;
    format!(
        "{role:10} replaced in {}, pid {old} -> {new}",
        humantime::format_duration(Duration::from_millis(*ms))
    )
}

fn untouched_text(untouched: &[String]) -> String {
    let mut text = String::new();
    if !untouched.is_empty() {
        let _ = write!(text, "; not touched: {}", untouched.join(", "));
    }
    text
}

fn within(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if !time.is_zero() && time <= WITHIN_MAX => Ok(time),
        Ok(_) => Err(format!("write more than 0s and at most {}", humantime::format_duration(WITHIN_MAX))),
        Err(error) => Err(format!("{error}; write a number and a unit, such as 60s")),
    }
}

/// A role that is not ready after this will not be.
const WITHIN_MAX: Duration = Duration::from_secs(60 * 60);
