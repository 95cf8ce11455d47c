//! Why the stack ended other than by request: what it was given, what the machine refused, what a role said.
//!
//! Owns: the words. Invariant: each names the value and what to do.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Why the stack ended, other than by request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody listens there already.
    #[error("{flag} {address}: {source}; free the port {}, or give {flag} another address", address.port())]
    Port {
        /// `--http`, `--admin` or `--guests`.
        flag: &'static str,
        /// As given.
        address: SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Two stacks cannot share a store.
    #[error("--data {}: another stack uses it; stop that one, or give --data another directory", data.display())]
    InUse {
        /// As given.
        data: PathBuf,
    },
    /// A directory cannot be written.
    #[error("{}: {source}", path.display())]
    Directory {
        /// The directory, or a file in it.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// cargo said why.
    #[error("the roles' binaries could not be built; cargo's reason is above")]
    Build,
    /// Never built.
    #[error("{}: not there; build it: cargo build --release -p {}", binary.display(), crate::plan::ROLES.join(" -p "))]
    NoBinary {
        /// Where it should be.
        binary: PathBuf,
    },
    /// The system did not start it.
    #[error("{}: cannot be started: {source}", program.display())]
    Start {
        /// The binary.
        program: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A usage error of ours, or of the role's variables.
    #[error("{role} refused its arguments (exit code 2); its reason is above, check {}_* variables", role.to_uppercase())]
    Refused {
        /// Its name.
        role: &'static str,
    },
    /// The roles would be built without.
    #[error(
        "--store {store}: this build has no FoundationDB; run: cargo run --release --features fdb -- --store {store}"
    )]
    NoFdb {
        /// As given.
        store: String,
    },
    /// No role could read it either.
    #[error("--store fdb:{}: {source}; name the cluster's file, often /etc/foundationdb/fdb.cluster", path.display())]
    ClusterFile {
        /// Of the cluster.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// `profile load` said why.
    #[error("the sample could not be loaded ({status}); the reason is above; without {} it starts anew", remedy.display())]
    Sample {
        /// How `profile load` ended.
        status: std::process::ExitStatus,
        /// The directory to remove.
        remedy: PathBuf,
    },
    /// No runtime, no signal handler, no thread.
    #[error("the system: {0}")]
    System(#[from] std::io::Error),
}
