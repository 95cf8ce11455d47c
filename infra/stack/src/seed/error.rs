//! Why a seed ended early.
//!
//! Owns the error texts. Invariant: each names the value and the remedy.

use std::path::PathBuf;

/// Why a seed ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `--method`, `--path` or `--body`: a usage error.
    #[error("{0}")]
    Template(String),
    /// The file to read or write failed.
    #[error("{}: {source}", path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A line that is not a request, or whose request was refused.
    #[error(
        "{at}: {reason}; correct the line and run the same command again, or skip such lines with --skip-bad"
    )]
    Bad {
        /// The line.
        at: String,
        /// The reason.
        reason: String,
    },
    /// The request was not accepted within `--patience`.
    #[error("{at}: {reason}, tried for {}; run the same command again to continue, or give a longer --patience", humantime::format_duration(*patience))]
    GaveUp {
        /// The line.
        at: String,
        /// The last answer.
        reason: String,
        /// The value of `--patience`.
        patience: std::time::Duration,
    },
    /// A process that writes into a store has ended.
    #[error("{at}: {reason}; its reason is above; run the same command again to continue")]
    Ended {
        /// The line.
        at: String,
        /// The process.
        reason: String,
    },
    /// A process that is to write into a store cannot.
    #[error(
        "--direct: {service}: {reason}; stop the stack that uses the store, or load over HTTP with --target"
    )]
    Direct {
        /// The service.
        service: String,
        /// The reason.
        reason: String,
    },
    /// No process listens at the target.
    #[error(
        "--target {target}: {source}; start the stack (cargo run --release), or give --target the address of one"
    )]
    Unreachable {
        /// The value of `--target`.
        target: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The checkpoint belongs to another command line.
    #[error("{}: {reason}; give --from-start to begin anew, or --checkpoint another name", path.display())]
    Checkpoint {
        /// Path of the checkpoint.
        path: PathBuf,
        /// The mismatch.
        reason: String,
    },
    /// A runtime, a signal handler or a thread could not be created.
    #[error("system error: {0}")]
    System(#[from] std::io::Error),
}
