//! Why a seed ended before its end.
//!
//! Owns: the words. Invariant: each names the value and what to do.

use std::path::PathBuf;

/// Why a seed ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `--method`, `--path` or `--body`: a usage error.
    #[error("{0}")]
    Template(String),
    /// The file to send, or to write.
    #[error("{}: {source}", path.display())]
    File {
        /// As given.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A line that is no request, or one that was refused.
    #[error(
        "{at}: {reason}; mend it and run the same command again, or pass such lines over with --skip-bad"
    )]
    Bad {
        /// Which line.
        at: String,
        /// Why.
        reason: String,
    },
    /// Tried for as long as `--patience` says.
    #[error("{at}: {reason}, tried for {}; run the same command again to go on, --patience is longer", humantime::format_duration(*patience))]
    GaveUp {
        /// Which line.
        at: String,
        /// The last answer.
        reason: String,
        /// As given.
        patience: std::time::Duration,
    },
    /// Nobody listens at the target.
    #[error(
        "--target {target}: {source}; start the stack (cargo run --release), or give --target the address of one"
    )]
    Unreachable {
        /// As given.
        target: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Not written by this command line.
    #[error("{}: {reason}; give --from-start to begin anew, or --checkpoint another name", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What it is of.
        reason: String,
    },
    /// No runtime, no signal handler, no thread.
    #[error("the system: {0}")]
    System(#[from] std::io::Error),
}
