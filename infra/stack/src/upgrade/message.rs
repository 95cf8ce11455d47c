//! What `stack upgrade` and the running stack say to each other: one line of JSON each.

use serde::{Deserialize, Serialize};

/// What is asked of the stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Which roles; all of them when empty.
    pub roles: Vec<String>,
    /// The time for each.
    pub within_ms: u64,
}

/// A role that was replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaced {
    /// Its name.
    pub role: String,
    /// The process before.
    pub old: u32,
    /// The process now.
    pub new: u32,
    /// Milliseconds from the start of the new process until it was ready.
    pub ms: u64,
}

/// What the stack answers; every line but `replaced` is the last one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// A role was replaced.
    Replaced(Replaced),
    /// All roles were replaced.
    Complete,
    /// Nothing is done.
    Refused {
        /// Why.
        reason: String,
    },
    /// A role was not replaced; those before it were.
    Failed {
        /// Its name.
        role: String,
        /// What its new process did.
        reason: String,
        /// What remains running.
        remains: String,
        /// The roles after it.
        untouched: Vec<String>,
    },
}
