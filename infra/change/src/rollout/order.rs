//! Orders: what an operator wants of a rollout, as its document says.
//!
//! Owns the commands, the phases that each one fits, and the record of an order that was obeyed.
//! Leaves carrying one out to [`super::machine`], and writing one into the document to
//! [`crate::orders`]. Invariant: an order is carried out at most once, also when the terminator
//! that obeyed it dies and another continues from the stored state.

use serde::{Deserialize, Serialize};

use super::phase::Phase;

/// What an operator can order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Command {
    /// Hold the share.
    Pause,
    /// Repeat the current stage.
    Resume,
    /// Send the candidate no more requests.
    Abort,
    /// Send the candidate all requests, whatever the verdict.
    Promote,
}

/// The field `order` of a rollout's document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// What is ordered.
    pub command: Command,
    /// When, in milliseconds since 1970. It identifies the order: the same command at another time
    /// is another order.
    pub at_ms: u64,
    /// Who orders it, for the history.
    pub who: String,
}

/// The latest order that the deciding terminator has read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obeyed {
    /// The order.
    pub order: Order,
    /// Why it was not carried out: the phase had changed before it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// A command does not fit the phase.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the rollout of {service} is {phase}, so it cannot be {}: {remedy}", command.participle())]
pub struct Refused {
    /// The service.
    pub service: String,
    /// What was ordered.
    pub command: Command,
    /// Where the rollout stands.
    pub phase: Phase,
    /// What the operator can do.
    pub remedy: &'static str,
}

impl Command {
    /// As documents spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Abort => "abort",
            Self::Promote => "promote",
        }
    }

    /// `paused`, `resumed`, `aborted` or `promoted`.
    #[must_use]
    pub fn participle(self) -> &'static str {
        match self {
            Self::Pause => "paused",
            Self::Resume => "resumed",
            Self::Abort => "aborted",
            Self::Promote => "promoted",
        }
    }

    /// Checks that the command fits a rollout of `service` in `phase`.
    ///
    /// # Errors
    ///
    /// [`Refused`] with what the operator can do instead.
    pub fn check(self, service: &str, phase: Phase) -> Result<(), Refused> {
        let remedy = match (self, phase) {
            (Self::Abort, Phase::RolledBack | Phase::Aborted) => "the candidate gets no requests",
            (Self::Abort, _) => return Ok(()),
            (_, phase) if !phase.is_live() => {
                "it has ended; `stack rollout start` begins it again, with this candidate or another"
            }
            (Self::Pause, Phase::Paused) => "it holds its share until it is resumed, aborted or promoted",
            (Self::Resume, phase) if phase != Phase::Paused => "it runs by itself",
            _ => return Ok(()),
        };
        Err(Refused { service: service.to_owned(), command: self, phase, remedy })
    }
}
