//! The instances of one pattern: all of them, and by version.
//!
//! Leaves the choice among them to `node`. Invariant: every pipe is in `all` once and in the group
//! of its version once; no group is empty.

use crate::socket::PipeId;
use crate::version::VersionId;

/// The pipes to the instances that claim a pattern, in the order in which they joined.
#[derive(Debug, Default)]
pub struct Peers {
    all: Vec<PipeId>,
    groups: Vec<Group>,
}

/// The instances of one version.
#[derive(Debug)]
pub struct Group {
    version: VersionId,
    /// Their pipes.
    pub pipes: Vec<PipeId>,
    /// The pipe that got the last request for this version.
    pub last: Option<PipeId>,
}

impl Peers {
    /// Only `pipe`, whose instance has this version.
    pub(super) fn one(pipe: PipeId, version: VersionId) -> Self {
        let mut peers = Self::default();
        peers.add(pipe, version);
        peers
    }

    /// Every pipe, of any version.
    #[inline]
    #[must_use]
    pub fn all(&self) -> &[PipeId] {
        &self.all
    }

    /// The pipes to the instances of a version.
    #[must_use]
    pub fn of(&self, version: VersionId) -> &[PipeId] {
        self.groups.iter().find(|group| group.version == version).map_or(&[], |group| &group.pipes)
    }

    /// The instances of a version; `None` when there are none.
    pub fn group(&mut self, version: VersionId) -> Option<&mut Group> {
        self.groups.iter_mut().find(|group| group.version == version)
    }

    /// True when no instance claims the pattern.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Adds `pipe`, unless it is there already.
    pub(super) fn add(&mut self, pipe: PipeId, version: VersionId) {
        if self.all.contains(&pipe) {
            return;
        }
        self.all.push(pipe);
        match self.group(version) {
            Some(group) => group.pipes.push(pipe),
            None => self.groups.push(Group { version, pipes: vec![pipe], last: None }),
        }
    }

    /// Removes `pipe`. True when it was there.
    pub(super) fn remove(&mut self, pipe: PipeId) -> bool {
        let had = self.all.len();
        self.all.retain(|&peer| peer != pipe);
        if self.all.len() == had {
            return false;
        }
        for group in &mut self.groups {
            group.pipes.retain(|&peer| peer != pipe);
        }
        self.groups.retain(|group| !group.pipes.is_empty());
        true
    }
}
