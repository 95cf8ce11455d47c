//! The plan in force, compiled for the workers.
//!
//! Owns the compiled toggles, the splits of the rollouts and the ghost traffic, as one value that
//! all workers share. Leaves reading documents to `change::document`, and moving shares to
//! `change::rollout`. Invariant: a snapshot never changes; every change of the plan makes a new
//! one.

use std::fmt;

use bus::VersionId;
use change::rollout::Sticky;
use change::split::{Group, Split};
use change::toggle::Set;

use super::ghosts::Ghost;

/// What the plan means for requests.
#[derive(Default)]
pub struct Snapshot {
    /// The toggles.
    pub toggles: Set,
    /// The services that two versions of share the requests.
    pub rollouts: Vec<Rollout>,
    /// The services of which requests are copied to a candidate.
    pub ghosts: Vec<Ghost>,
}

/// The split of one service's requests.
#[derive(Clone, Debug)]
pub struct Rollout {
    /// The service.
    pub service: Box<str>,
    /// What keeps a client with one version.
    pub sticky: Sticky,
    /// The shares.
    pub split: Split,
    stable: Version,
    candidate: Version,
}

/// One side of a split.
#[derive(Clone, Debug)]
struct Version {
    id: VersionId,
    /// The value of the head field `:pin`.
    pin: Box<str>,
}

impl Version {
    fn new(service: &str, version: &str) -> Self {
        Self { id: VersionId::of(version), pin: format!("{service}={version}").into() }
    }
}

impl Snapshot {
    /// True when the plan changes nothing for any request.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.toggles.is_empty() && self.rollouts.is_empty() && self.ghosts.is_empty()
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("toggles", &self.toggles.len())
            .field("rollouts", &self.rollouts)
            .field("ghosts", &self.ghosts)
            .finish()
    }
}

impl Rollout {
    /// Sends the candidate's share of the requests for `service` to version `candidate`, and the
    /// others to version `stable`.
    #[must_use]
    pub fn new(service: &str, stable: &str, candidate: &str, sticky: Sticky, split: Split) -> Self {
        Self {
            service: service.into(),
            sticky,
            split,
            stable: Version::new(service, stable),
            candidate: Version::new(service, candidate),
        }
    }

    /// The version that a group meets, and the value of its head field `:pin`.
    pub(super) fn pin(&self, group: Group) -> (VersionId, &str) {
        let version = if group == Group::Candidate { &self.candidate } else { &self.stable };
        (version.id, &version.pin)
    }
}
