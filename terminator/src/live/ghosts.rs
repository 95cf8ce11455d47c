//! Ghost traffic as one worker has it in force: which services have a candidate that gets copies.
//!
//! Owns the choice of the requests that are copied, what was compared since it was last taken, and
//! the version that clients meet meanwhile. Leaves sending copies to `forward`, the rule for
//! differences to `change::ghost`, and the sum over all workers to `control`. Invariant: a
//! candidate that only gets copies answers no client.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::BTreeMap;
use std::rc::Rc;

use bus::{Bus, VersionId};
use change::ghost::{Comparison, Document, Selection, Target};
use http::Method;

/// Ghost traffic of one service, as the plan has it in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ghost {
    /// The service.
    pub service: Box<str>,
    /// The candidate, the share, the methods, and what is not compared.
    pub document: Document,
    /// What else the plan says of the candidate.
    pub origin: Origin,
}

/// What else the plan says of a candidate that gets copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// No rollout of the service: clients meet every version but the candidate.
    Alone,
    /// A rollout in a ghost stage: as [`Origin::Alone`], and the copies are the rollout's counts.
    Stage,
    /// A rollout that is not in a ghost stage: it says which version a client meets.
    Beside,
}

/// A service of which this worker copies requests.
#[derive(Debug)]
pub struct Shadowed {
    ghost: Ghost,
    /// The candidate.
    pub candidate: VersionId,
    /// The value of the head field `:pin` of the candidate's copies.
    pub pin: Box<str>,
    selection: Selection,
    comparison: RefCell<Comparison>,
    ended: Cell<bool>,
}

impl Shadowed {
    /// Nothing is copied yet.
    #[must_use]
    pub fn new(ghost: Ghost) -> Self {
        let Document { candidate, percent, methods, ignore } = &ghost.document;
        Self {
            candidate: VersionId::of(candidate),
            pin: format!("{}={candidate}", ghost.service).into(),
            selection: Selection::new(*percent, methods.clone()),
            comparison: RefCell::new(Comparison::new(&*ghost.service, candidate.as_str(), ignore.clone())),
            ended: Cell::new(false),
            ghost,
        }
    }

    /// The service.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.ghost.service
    }

    /// True for a value of the head field `:pin` that names a version of the service.
    #[must_use]
    pub fn is_pinned_by(&self, pin: &[u8]) -> bool {
        pin.strip_prefix(self.service().as_bytes()).is_some_and(|rest| rest.starts_with(b"="))
    }

    /// True when clients meet every version of the service but the candidate.
    #[must_use]
    pub fn is_hidden(&self) -> bool {
        self.ghost.origin != Origin::Beside
    }

    /// True while a rollout's ghost stage is judged by these copies.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        self.ghost.origin == Origin::Stage && !self.ended.get()
    }

    /// The copies of a request in the order of sending; `None` when it is not copied.
    #[must_use]
    pub fn copies(&self, method: &Method, random: &mut fastrand::Rng) -> Option<[Target; 2]> {
        self.selection.copies(method.as_str(), random)
    }

    /// Where copies are counted and compared. It must not be held while other code runs.
    pub fn comparison(&self) -> RefMut<'_, Comparison> {
        self.comparison.borrow_mut()
    }
}

/// Ghost traffic in force on one worker.
#[derive(Debug, Default)]
pub struct Ghosts {
    in_force: RefCell<Rc<[Rc<Shadowed>]>>,
}

impl Ghosts {
    /// The services in force.
    #[must_use]
    pub fn in_force(&self) -> Rc<[Rc<Shadowed>]> {
        Rc::clone(&self.in_force.borrow())
    }

    /// Copies by `ghosts` from now on. What was compared of the others is dropped.
    pub(super) fn set(&self, ghosts: &[Ghost]) {
        let before = self.in_force();
        let known = |ghost: &Ghost| before.iter().find(|known| known.ghost == *ghost).map(Rc::clone);
        let new = |ghost: &Ghost| known(ghost).unwrap_or_else(|| Rc::new(Shadowed::new(ghost.clone())));
        let now: Rc<[_]> = ghosts.iter().map(new).collect();
        for old in before.iter().filter(|old| !now.iter().any(|kept| Rc::ptr_eq(kept, old))) {
            old.ended.set(true);
        }
        *self.in_force.borrow_mut() = now;
    }

    /// Takes what was counted and compared since the last time.
    pub fn take(&self) -> Vec<Comparison> {
        let taken = self.in_force().iter().map(|shadowed| shadowed.comparison().take()).collect::<Vec<_>>();
        taken.into_iter().filter(|comparison| !comparison.is_empty()).collect()
    }

    /// The values of the head field `:pin` that keep what a request causes away from candidates
    /// that only get copies: for each such service the version of most of its other instances.
    pub(super) fn pins(&self, bus: &Bus) -> Vec<String> {
        let in_force = self.in_force();
        let alone: Vec<&Ghost> = in_force
            .iter()
            .map(|shadowed| &shadowed.ghost)
            .filter(|ghost| ghost.origin == Origin::Alone)
            .collect();
        if alone.is_empty() {
            return Vec::new();
        }
        let peers = bus.peers();
        let hellos = || peers.iter().filter_map(|peer| peer.hello.as_ref());
        let pin = |ghost: &&Ghost| {
            let mut versions: BTreeMap<&str, usize> = BTreeMap::new();
            for hello in hellos().filter(|hello| hello.service == *ghost.service) {
                if hello.version != ghost.document.candidate {
                    *versions.entry(&hello.version).or_default() += 1;
                }
            }
            let (stable, _) = versions.into_iter().max_by_key(|(_, instances)| *instances)?;
            Some(format!("{}={stable}", ghost.service))
        };
        alone.iter().filter_map(pin).collect()
    }
}
