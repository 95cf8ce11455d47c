//! The phases of a rollout.
//!
//! Owns their names, as `/rollouts` and stored states spell them. Leaves the steps from one to the
//! next to [`super::machine`]. Invariant: a phase is live, or the rollout has ended.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a rollout stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// A stage gathers requests.
    Running,
    /// The time of a stage is up, and its verdict is not a pass yet.
    Waiting,
    /// Holds its share until an operator decides.
    Paused,
    /// A failed verdict took the candidate back.
    RolledBack,
    /// An operator took the candidate back.
    Aborted,
    /// The last stage passed, or an operator promoted the candidate.
    Completed,
}

/// As `/rollouts` spells it.
impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Paused => "paused",
            Self::RolledBack => "rolled_back",
            Self::Aborted => "aborted",
            Self::Completed => "completed",
        })
    }
}

impl Phase {
    /// True while the candidate is observed.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Running | Self::Waiting | Self::Paused)
    }
}
