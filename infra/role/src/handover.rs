//! Handing a role's listening sockets to the process that replaces it.
//!
//! The running process, the *predecessor*, listens at the path of `--handover` ([`Stand`]). The new
//! one, the *successor*, connects there, gets the sockets, gets ready, and says so ([`Successor`]).
//! Only then the predecessor drains. The lines that they exchange, in this order (`wire`):
//!
//! | from | line | meaning |
//! | --- | --- | --- |
//! | successor | `ask` | wants the sockets; says its version of these lines |
//! | predecessor | `socket`, repeated | a listening socket, with its descriptor |
//! | predecessor | `offer` | all sockets have been sent; lists the instances that are on the bus, with their routes |
//! | successor | `started` | its workers accept on the bus |
//! | - | - | the predecessor stops accepting on the bus and tells its peers to dial again |
//! | successor | `ready` | the instances have dialled, or `--settle` has passed; lists the instances that have not |
//! | predecessor | `go` | it still waits for this successor |
//! | successor | `serving` | it accepts clients and listens at the path; the predecessor drains |
//! | predecessor | `abort` | instead of any other line: it took too long, or was refused |
//!
//! A successor that needs what the predecessor holds, an embedded store, says `started`, `ready`
//! and `serving` one after the other ([`Successor::replace_at_once`]), and serves once the
//! predecessor has drained.
//!
//! Invariant: until `serving` has come the predecessor serves as before; whatever ends the
//! connection earlier, it accepts on the bus again and waits for another successor.

mod stand;
mod successor;
mod wire;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use stand::Stand;
pub(crate) use stand::Succeeded;
pub use successor::Successor;

/// The flags of a role that can be replaced without a failed request.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct Options {
    /// Where a process started with the same path gets the listening sockets of this one, which
    /// drains and ends once that one serves; a Unix socket of mode 0600
    #[arg(long, value_name = "PATH")]
    pub handover: Option<PathBuf>,
    /// How long either process waits for the other in a handover; after it the old one continues
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = timeout)]
    pub handover_timeout: Duration,
}

fn timeout(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if !time.is_zero() && time <= TIMEOUT_MAX => Ok(time),
        Ok(_) => Err(format!("write more than 0s and at most {}", humantime::format_duration(TIMEOUT_MAX))),
        Err(error) => Err(format!("{error}; write a number and a unit, such as 30s")),
    }
}

/// A handover that takes longer has failed.
const TIMEOUT_MAX: Duration = Duration::from_secs(60 * 60);

/// Why a process could not take over, or cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The path cannot be used.
    #[error("--handover {path}")]
    Path {
        /// As given.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The predecessor did not do its part.
    #[error("the process at --handover {path} did not hand over")]
    Failed {
        /// As given.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl HandoverError {
    fn path(path: &Path, source: io::Error) -> Self {
        Self::Path { path: path.display().to_string(), source }
    }

    fn failed(path: &Path, source: io::Error) -> Self {
        Self::Failed { path: path.display().to_string(), source }
    }
}
