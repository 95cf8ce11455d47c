//! The route table: services, their instances, and the patterns they claim. It is built from
//! hellos.
//!
//! More specific patterns win. A pattern's owner is the first service that claims it, and all its
//! instances share it. While the owner has no instance, another service may hold the pattern until
//! the owner is back. A service without instances keeps its patterns, so that a request for them is
//! answered "no instance" rather than "no such route". After [`GRACE`] they give way to less
//! specific patterns that have instances.

mod peers;
mod room;
mod routers;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use self::routers::Routers;
use crate::hello::{Hello, HelloError, Pattern};
use crate::limits::SERVICES_MAX;
use crate::socket::PipeId;
use crate::version::VersionId;

pub use self::peers::{Group, Peers};

/// How long a pattern without instances keeps its paths from a less specific pattern that has
/// instances. A restarted service is back by then, and a service that left for good does not block
/// other services.
pub const GRACE: Duration = Duration::from_secs(10);

/// A route that was found. It is `Copy` and may be kept while a request waits: a reused index is
/// detected by its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The service's index.
    pub service: u32,
    /// The pattern's index. It is stable while the route exists and may be reused afterwards.
    pub pattern: u32,
    epoch: u32,
}

/// One pattern of the table.
#[derive(Debug)]
pub struct Entry {
    /// The pattern as its service first claimed it.
    pub pattern: Pattern,
    /// The service that holds it.
    pub service: u32,
    /// The service that claimed it first and has not given it up since.
    owner: u32,
    /// The instances that claim it.
    pub peers: Peers,
    epoch: u32,
    /// When its last instance left.
    left_at: Option<Instant>,
}

/// One service.
#[derive(Debug)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its instances.
    pub peers: Vec<PipeId>,
    /// The virtual time of its shares, see [`crate::balancer`].
    pub virtual_time: u64,
    /// The pipe that got the last request. Later requests of the same turn may go there too.
    pub last: Option<PipeId>,
}

/// The route table of one worker.
#[derive(Debug)]
pub struct Directory {
    services: Vec<Service>,
    by_name: HashMap<String, u32>,
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    epoch: u32,
    /// Number of changes.
    version: u64,
    /// Patterns with at least one instance.
    served: Routers,
    /// Patterns without instances.
    left: Routers,
    /// The time of the last call of [`Directory::tick`].
    now: Instant,
    /// Services whose patterns keep their paths for as long as they have no instance.
    expected: Vec<String>,
}

/// The result of a claim.
#[derive(Debug, Default)]
pub struct Claimed {
    /// The service's index.
    pub service: u32,
    /// Patterns that another service holds, each with the name of that service.
    pub conflicts: Vec<(Pattern, String)>,
    /// Pipes that lost a pattern: to its owner, or, when the table was full, to a peer that claims
    /// fewer patterns.
    pub displaced: Vec<(PipeId, Pattern)>,
}

impl Directory {
    /// An empty table.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            services: Vec::new(),
            by_name: HashMap::new(),
            entries: Vec::new(),
            free: Vec::new(),
            epoch: 0,
            version: 0,
            served: Routers::default(),
            left: Routers::default(),
            now,
            expected: Vec::new(),
        }
    }

    /// Sets the services whose patterns do not give way to less specific ones, however long they
    /// have no instance.
    pub fn expect(&mut self, services: &[String]) {
        self.expected = services.to_vec();
    }

    /// Sets the current time. It is needed only as exactly as [`GRACE`] is measured.
    pub fn tick(&mut self, now: Instant) {
        self.now = now;
    }

    /// Registers the instance behind `pipe` with everything that its hello claims, in place of what
    /// it claimed before.
    ///
    /// # Errors
    /// [`HelloError::Services`] and [`HelloError::Routes`] when there is no room. Nothing has
    /// changed for `pipe` then.
    pub fn claim(&mut self, pipe: PipeId, hello: &Hello) -> Result<Claimed, HelloError> {
        self.version += 1;
        let displaced = self.make_room(pipe, hello)?;
        let service = self.service_index(&hello.service).ok_or(HelloError::Services)?;
        self.release(pipe);
        self.services[service as usize].peers.push(pipe);
        let version = VersionId::of(&hello.version);
        let mut claimed = Claimed { service, conflicts: Vec::new(), displaced };
        for pattern in &hello.routes {
            match self.claim_pattern((pipe, version), service, pattern) {
                Ok(displaced) => {
                    claimed.displaced.extend(displaced.into_iter().map(|other| (other, pattern.clone())));
                }
                Err(holder) => claimed.conflicts.push((pattern.clone(), holder)),
            }
        }
        self.give_up(service);
        Ok(claimed)
    }

    /// Drops the patterns that `service` no longer claims. A pattern that it owned but another
    /// service holds is owned by that service from now on. A pattern that it held for its owner
    /// goes back to the owner.
    fn give_up(&mut self, service: u32) {
        for entry in self.entries.iter_mut().flatten() {
            if entry.owner == service && entry.service != service {
                entry.owner = entry.service;
            } else if entry.service == service && entry.peers.is_empty() && entry.owner != service {
                self.epoch += 1;
                (entry.service, entry.epoch) = (entry.owner, self.epoch);
            }
        }
        self.drop_entries(|entry| entry.service == service && entry.peers.is_empty());
    }

    /// Removes the instance behind `pipe`. Its service and its patterns stay known.
    pub fn release(&mut self, pipe: PipeId) {
        self.version += 1;
        for service in &mut self.services {
            service.peers.retain(|&peer| peer != pipe);
        }
        for (entry, index) in self.entries.iter_mut().zip(0..) {
            let Some(entry) = entry else { continue };
            if entry.peers.remove(pipe) && entry.peers.is_empty() {
                entry.left_at = Some(self.now);
                self.served.remove(&entry.pattern);
                if self.left.insert(&entry.pattern, index).is_err() {
                    debug_assert!(false, "`served` accepted this pattern, so `left` has a router for it");
                }
            }
        }
    }

    /// A number that changes whenever the patterns, or the peers that claim them, may have changed.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The most specific pattern that matches. `path` has no query.
    #[must_use]
    pub fn find(&self, method: &str, path: &str) -> Option<Route> {
        let served = self.best(&self.served, method, path);
        let left = if self.left.is_empty() { None } else { self.best(&self.left, method, path) };
        let index = match (served, left) {
            (Some(served), Some(left)) if self.is_more_specific(left, served) && self.is_in_grace(left) => {
                left
            }
            (Some(index), _) | (None, Some(index)) => index,
            (None, None) => return None,
        };
        let entry = self.entries[index as usize].as_ref()?;
        Some(Route { service: entry.service, pattern: index, epoch: entry.epoch })
    }

    fn best(&self, routers: &Routers, method: &str, path: &str) -> Option<u32> {
        // The first of equal patterns is kept: it has the request's method.
        let better = |best: u32, next: u32| if self.is_more_specific(next, best) { next } else { best };
        routers.find(method, path).reduce(better)
    }

    fn is_in_grace(&self, index: u32) -> bool {
        let Some(entry) = &self.entries[index as usize] else { return false };
        let is_recent = |left_at| self.now.saturating_duration_since(left_at) < GRACE;
        entry.left_at.is_some_and(is_recent)
            || self.expected.iter().any(|name| *name == self.services[entry.service as usize].name)
    }

    /// The entry of a route; `None` when the route is no longer claimed.
    #[must_use]
    pub fn entry(&self, route: Route) -> Option<&Entry> {
        self.entries.get(route.pattern as usize)?.as_ref().filter(|entry| entry.epoch == route.epoch)
    }

    /// A service by its index.
    #[must_use]
    pub fn service(&self, index: u32) -> Option<&Service> {
        self.services.get(index as usize)
    }

    /// An entry and its service together, for the balancer.
    pub fn entry_and_service(&mut self, route: Route) -> Option<(&mut Entry, &mut Service)> {
        let entry = self.entries.get_mut(route.pattern as usize)?.as_mut();
        let entry = entry.filter(|entry| entry.epoch == route.epoch)?;
        let service = &mut self.services[entry.service as usize];
        Some((entry, service))
    }

    /// Every pattern, in the order of the table's indices.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().flatten()
    }

    fn service_index(&mut self, name: &str) -> Option<u32> {
        if let Some(&index) = self.by_name.get(name) {
            return Some(index);
        }
        let index = if self.services.len() < SERVICES_MAX { self.services.len() } else { self.forget_one()? };
        let service = Service { name: name.to_owned(), peers: Vec::new(), virtual_time: 0, last: None };
        if index == self.services.len() {
            self.services.push(service);
        } else {
            self.services[index] = service;
        }
        let index = u32::try_from(index).expect("SERVICES_MAX fits u32");
        self.by_name.insert(name.to_owned(), index);
        Some(index)
    }

    /// Registers `pipe` as an instance for `pattern`. Returns the pipes of another service that
    /// lose the pattern because its owner claims it back.
    ///
    /// # Errors
    /// The name of the service that holds the pattern, or the limit that was reached.
    fn claim_pattern(
        &mut self,
        (pipe, version): (PipeId, VersionId),
        service: u32,
        pattern: &Pattern,
    ) -> Result<Vec<PipeId>, String> {
        let Some(index) = self.served.index(pattern).or_else(|| self.left.index(pattern)) else {
            let entry = Entry {
                pattern: pattern.clone(),
                service,
                owner: service,
                peers: Peers::one(pipe, version),
                epoch: 0,
                left_at: None,
            };
            let index = self.add_entry(entry);
            self.served.insert(pattern, index).inspect_err(|_| {
                self.entries[index as usize] = None;
                self.free.push(index);
            })?;
            return Ok(Vec::new());
        };
        let entry = self.entries[index as usize].as_mut().expect("routers name live entries");
        let mut displaced = Vec::new();
        if entry.service != service {
            let holder = &self.services[entry.service as usize];
            if !holder.peers.is_empty() && entry.owner != service {
                return Err(holder.name.clone());
            }
            self.epoch += 1;
            (entry.service, entry.epoch) = (service, self.epoch);
            if !entry.peers.is_empty() {
                let peers = std::mem::replace(&mut entry.peers, Peers::one(pipe, version));
                displaced = peers.all().to_vec();
            }
        }
        let had_none = entry.peers.is_empty();
        entry.peers.add(pipe, version);
        if had_none {
            self.left.remove(&entry.pattern);
            entry.pattern = pattern.clone();
            entry.left_at = None;
            self.served.insert(pattern, index)?;
        }
        Ok(displaced)
    }

    fn add_entry(&mut self, mut entry: Entry) -> u32 {
        self.epoch += 1;
        entry.epoch = self.epoch;
        match self.free.pop() {
            Some(index) => {
                self.entries[index as usize] = Some(entry);
                index
            }
            None => {
                self.entries.push(Some(entry));
                u32::try_from(self.entries.len() - 1).expect("services and their routes are bounded")
            }
        }
    }

    /// Drops the entries for which `stale` is true.
    fn drop_entries(&mut self, stale: impl Fn(&Entry) -> bool) {
        for index in 0..self.entries.len() {
            if let Some(entry) = self.entries[index].as_ref().filter(|entry| stale(entry)) {
                self.remove(index, !entry.peers.is_empty());
            }
        }
    }

    fn remove(&mut self, index: usize, is_served: bool) {
        let Some(entry) = self.entries[index].take() else { return };
        let routers = if is_served { &mut self.served } else { &mut self.left };
        routers.remove(&entry.pattern);
        self.free.push(u32::try_from(index).expect("services and their routes are bounded"));
    }

    fn is_more_specific(&self, a: u32, b: u32) -> bool {
        let pattern = |index: u32| self.entries[index as usize].as_ref().map(|entry| &entry.pattern);
        pattern(a).zip(pattern(b)).is_some_and(|(a, b)| a.is_more_specific(b))
    }
}

#[cfg(test)]
mod tests;
