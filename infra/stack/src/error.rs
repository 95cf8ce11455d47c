//! Why the stack ended without a request to stop: wrong settings, an error of the system, or an
//! error of a role.
//!
//! Owns the error texts. Invariant: each names the value and the remedy.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Why the stack ended without a request to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process listens there.
    #[error("{flag} {address}: {source}; free the port {}, or give {flag} another address", address.port())]
    Port {
        /// `--http`, `--admin` or `--guests`.
        flag: &'static str,
        /// The address of the flag.
        address: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
    /// Another stack uses the store.
    #[error("--data {}: another stack uses it; stop that one, or give --data another directory", data.display())]
    InUse {
        /// The value of `--data`.
        data: PathBuf,
    },
    /// A directory cannot be written.
    #[error("{}: {source}", path.display())]
    Directory {
        /// The directory, or a file in it.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// cargo failed and printed the reason.
    #[error("the roles' binaries could not be built; cargo's reason is above")]
    Build,
    /// The binary was never built.
    #[error("{}: is missing; build it: cargo build --release -p {}", binary.display(), crate::roles::ROLES.join(" -p "))]
    NoBinary {
        /// The expected path.
        binary: PathBuf,
    },
    /// The system could not start the program.
    #[error("{}: cannot be started: {source}", program.display())]
    Start {
        /// The binary.
        program: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A role refused its arguments or its environment variables.
    #[error("{role} refused its arguments (exit code 2); its reason is above, check {}_* variables", role.to_uppercase())]
    Refused {
        /// The role's name.
        role: &'static str,
    },
    /// The roles would be built without FoundationDB.
    #[error(
        "--store {store}: this build has no FoundationDB; run: cargo run --release --features fdb -- --store {store}"
    )]
    NoFdb {
        /// The value of `--store`.
        store: String,
    },
    /// The cluster file can't be read, so no role could read it either.
    #[error("--store fdb:{}: {source}; name the cluster's file, often /etc/foundationdb/fdb.cluster", path.display())]
    ClusterFile {
        /// Path of the cluster file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// `profile load` failed and printed the reason.
    #[error("the sample could not be loaded ({status}); the reason is above; delete {} to start anew", remedy.display())]
    Sample {
        /// The exit status of `profile load`.
        status: std::process::ExitStatus,
        /// The directory to remove.
        remedy: PathBuf,
    },
    /// A runtime, a signal handler or a thread could not be created.
    #[error("system error: {0}")]
    System(#[from] std::io::Error),
}
