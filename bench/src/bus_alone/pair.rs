//! One measured pair of sides.
//!
//! Owns its parameters.

use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// How the two sides are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Transport {
    Tcp,
    Ipc,
    Inproc,
}

/// A pattern of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Pattern {
    OneWay,
    Ask,
}

/// Two sides and their connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    pub(super) transport: Transport,
    pub(super) pattern: Pattern,
    pub(super) size: usize,
    /// The core of the sender or asker, and that of the other side.
    pub(super) cores: [usize; 2],
    pub(super) seconds: u64,
}

impl Pair {
    pub(super) const fn time(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}
