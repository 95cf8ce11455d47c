//! Who serves what: the route table and the services behind it, built from hellos.
//!
//! More specific patterns win. A pattern belongs to the first service that claims it, for as long as that service has
//! an instance; instances of one service share it. A service whose last instance went keeps its patterns, so that its
//! routes answer "no instance" rather than "no such route".

mod routers;

use std::collections::HashMap;

use self::routers::Routers;
use crate::hello::{Hello, HelloError, Pattern};
use crate::limits::{ROUTES_MAX, SERVICES_MAX};
use crate::socket::PipeId;

/// A route found. Cheap to keep over a wait: one that was reused meanwhile is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The service's index.
    pub service: u32,
    /// The pattern's index: stable while the route exists, reused afterwards.
    pub pattern: u32,
    epoch: u32,
}

/// One pattern of the table.
#[derive(Debug)]
pub struct Entry {
    /// As its service claimed it first.
    pub pattern: Pattern,
    /// The service that holds it.
    pub service: u32,
    /// The instances that claim it.
    pub peers: Vec<PipeId>,
    epoch: u32,
}

/// One service.
#[derive(Debug)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its instances.
    pub peers: Vec<PipeId>,
    /// How far its shares have come, see [`crate::balancer`].
    pub virtual_time: u64,
}

/// The table of one worker.
#[derive(Debug, Default)]
pub struct Directory {
    services: Vec<Service>,
    by_name: HashMap<String, u32>,
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    epoch: u32,
    routers: Routers,
}

/// What came of a hello.
#[derive(Debug, Default)]
pub struct Claimed {
    /// The service's index.
    pub service: u32,
    /// Patterns that another service holds, with its name.
    pub conflicts: Vec<(Pattern, String)>,
}

impl Directory {
    /// Enters the instance behind `pipe` with all that its hello claims; what it claimed before is forgotten.
    ///
    /// # Errors
    /// [`HelloError::Services`] and [`HelloError::Routes`] when there is no room; nothing has changed for `pipe` then.
    pub fn claim(&mut self, pipe: PipeId, hello: &Hello) -> Result<Claimed, HelloError> {
        self.make_room(hello)?;
        let service = self.service_index(&hello.service).ok_or(HelloError::Services)?;
        self.release(pipe);
        self.services[service as usize].peers.push(pipe);
        let mut claimed = Claimed { service, conflicts: Vec::new() };
        for pattern in &hello.routes {
            if let Err(holder) = self.claim_pattern(pipe, service, pattern) {
                claimed.conflicts.push((pattern.clone(), holder));
            }
        }
        self.drop_entries(|entry| entry.service == service && entry.peers.is_empty());
        Ok(claimed)
    }

    /// The instance behind `pipe` is gone; its service and patterns stay known.
    pub fn release(&mut self, pipe: PipeId) {
        for service in &mut self.services {
            service.peers.retain(|&peer| peer != pipe);
        }
        for entry in self.entries.iter_mut().flatten() {
            entry.peers.retain(|&peer| peer != pipe);
        }
    }

    /// The most specific pattern that matches; `path` without its query.
    #[must_use]
    pub fn find(&self, method: &str, path: &str) -> Option<Route> {
        // The first of equals is kept: a pattern with the request's method.
        let better = |best: u32, next: u32| if self.is_more_specific(next, best) { next } else { best };
        let index = self.routers.find(method, path).reduce(better)?;
        let entry = self.entries[index as usize].as_ref()?;
        Some(Route { service: entry.service, pattern: index, epoch: entry.epoch })
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
    pub fn entry_and_service(&mut self, route: Route) -> Option<(&Entry, &mut Service)> {
        let entry =
            self.entries.get(route.pattern as usize)?.as_ref().filter(|entry| entry.epoch == route.epoch)?;
        Some((entry, &mut self.services[entry.service as usize]))
    }

    /// Every pattern, in the order of their claims.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().flatten()
    }

    /// Room for the routes of `hello`: the patterns that nobody claims make way for it, if they must.
    fn make_room(&mut self, hello: &Hello) -> Result<(), HelloError> {
        let wanted = hello.routes.len();
        if self.entries().count() + wanted <= ROUTES_MAX {
            return Ok(());
        }
        self.drop_entries(|entry| entry.peers.is_empty());
        if self.entries().count() + wanted > ROUTES_MAX { Err(HelloError::Routes(wanted)) } else { Ok(()) }
    }

    fn service_index(&mut self, name: &str) -> Option<u32> {
        if let Some(&index) = self.by_name.get(name) {
            return Some(index);
        }
        let index = if self.services.len() < SERVICES_MAX { self.services.len() } else { self.forget_one()? };
        let service = Service { name: name.to_owned(), peers: Vec::new(), virtual_time: 0 };
        if index == self.services.len() {
            self.services.push(service);
        } else {
            self.services[index] = service;
        }
        let index = u32::try_from(index).expect("SERVICES_MAX fits u32");
        self.by_name.insert(name.to_owned(), index);
        Some(index)
    }

    /// Makes room: a service without instances is forgotten, with its patterns.
    fn forget_one(&mut self) -> Option<usize> {
        let index = self.services.iter().position(|service| service.peers.is_empty())?;
        self.by_name.remove(&self.services[index].name);
        self.drop_entries(|entry| entry.service as usize == index);
        Some(index)
    }

    /// # Errors
    /// The name of the service that holds the pattern, or what limit was hit.
    fn claim_pattern(&mut self, pipe: PipeId, service: u32, pattern: &Pattern) -> Result<(), String> {
        let Some(index) = self.routers.index(pattern) else {
            let index =
                self.add_entry(Entry { pattern: pattern.clone(), service, peers: vec![pipe], epoch: 0 });
            return self.routers.insert(pattern, index).inspect_err(|_| {
                self.entries[index as usize] = None;
                self.free.push(index);
            });
        };
        let entry = self.entries[index as usize].as_mut().expect("routers name live entries");
        if entry.service != service {
            let holder = &self.services[entry.service as usize];
            if !holder.peers.is_empty() {
                return Err(holder.name.clone());
            }
            self.epoch += 1;
            *entry = Entry { pattern: pattern.clone(), service, peers: Vec::new(), epoch: self.epoch };
        }
        if !entry.peers.contains(&pipe) {
            entry.peers.push(pipe);
        }
        Ok(())
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

    /// Drops the patterns that are `stale`.
    fn drop_entries(&mut self, stale: impl Fn(&Entry) -> bool) {
        for index in 0..self.entries.len() {
            if !self.entries[index].as_ref().is_some_and(&stale) {
                continue;
            }
            let entry = self.entries[index].take().expect("looked at a moment ago");
            self.routers.remove(&entry.pattern);
            self.free.push(u32::try_from(index).expect("services and their routes are bounded"));
        }
    }

    fn is_more_specific(&self, a: u32, b: u32) -> bool {
        let ranks = |index: u32| {
            let path = self.entries[index as usize].as_ref().map_or("", |entry| entry.pattern.path.as_str());
            path.split('/')
                .map(|segment| if segment.starts_with("{*") { 2 } else { u8::from(segment.starts_with('{')) })
        };
        ranks(a).lt(ranks(b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::ROUTERS_MAX;

    fn pipe(index: u32) -> PipeId {
        PipeId { index, generation: 0 }
    }

    fn hello(service: &str, routes: &[&str]) -> Hello {
        let mut hello = Hello::new(service, "1", "i");
        hello.routes = routes.iter().map(|route| route.parse().unwrap()).collect();
        hello
    }

    fn found(directory: &Directory, method: &str, path: &str) -> Option<String> {
        let route = directory.find(method, path)?;
        Some(directory.entry(route)?.pattern.to_string())
    }

    #[test]
    fn the_more_specific_pattern_wins_whatever_its_method() {
        let mut directory = Directory::default();
        let routes = [
            "GET /a/{id}",
            "GET /a/b",
            "* /a/{*rest}",
            "GET /x/{*rest}",
            "* /x/y",
            "GET /files/{id}",
            "GET /files/{*rest}",
        ];
        assert!(directory.claim(pipe(0), &hello("s", &routes)).unwrap().conflicts.is_empty());
        let cases = [
            ("GET", "/a/b", Some("GET /a/b")),
            ("GET", "/a/c", Some("GET /a/{id}")),
            ("GET", "/a/c/d", Some("* /a/{*rest}")),
            ("PUT", "/a/b", Some("* /a/{*rest}")),
            ("GET", "/x/y", Some("* /x/y")),
            ("GET", "/x/z", Some("GET /x/{*rest}")),
            ("GET", "/", None),
            ("GET", "/files/1", Some("GET /files/{id}")),
            ("GET", "/files/1/2", Some("GET /files/{*rest}")),
        ];
        for (method, path, expected) in cases {
            assert_eq!(found(&directory, method, path).as_deref(), expected, "{method} {path}");
        }
    }

    #[test]
    fn instances_share_a_pattern_and_another_service_is_refused_until_they_are_gone() {
        let mut directory = Directory::default();
        directory.claim(pipe(0), &hello("s", &["GET /a/{id}"])).unwrap();
        directory.claim(pipe(1), &hello("s", &["GET /a/{name}"])).unwrap();
        let route = directory.find("GET", "/a/1").unwrap();
        assert_eq!(directory.entry(route).unwrap().peers, [pipe(0), pipe(1)]);
        let conflicts = directory.claim(pipe(2), &hello("t", &["GET /a/{other}"])).unwrap().conflicts;
        assert_eq!(conflicts, [("GET /a/{other}".parse().unwrap(), "s".to_owned())]);
        directory.release(pipe(0));
        directory.release(pipe(1));
        assert!(directory.entry(route).unwrap().peers.is_empty(), "the route stays known");
        let claimed = directory.claim(pipe(2), &hello("t", &["GET /a/{other}"])).unwrap();
        assert!(claimed.conflicts.is_empty());
        assert!(directory.entry(route).is_none(), "an old route is noticed");
        assert_eq!(directory.find("GET", "/a/1").unwrap().service, claimed.service);
    }

    #[test]
    fn a_new_hello_replaces_the_old_one() {
        let mut directory = Directory::default();
        directory.claim(pipe(0), &hello("s", &["GET /a", "GET /b"])).unwrap();
        directory.claim(pipe(0), &hello("s", &["GET /b", "GET /c"])).unwrap();
        assert_eq!(found(&directory, "GET", "/a"), None);
        assert!(found(&directory, "GET", "/b").is_some() && found(&directory, "GET", "/c").is_some());
        let route = directory.find("GET", "/b").unwrap();
        assert_eq!(directory.entry(route).unwrap().peers.len(), 1);
    }

    #[test]
    fn made_up_methods_are_bounded_and_forgotten_with_their_patterns() {
        let mut directory = Directory::default();
        let made_up = |n: usize| format!("{}Z{} /a", "X".repeat(n / 16), "Y".repeat(n % 16));
        for n in 0..3 * ROUTERS_MAX {
            let claimed = directory.claim(pipe(0), &hello("s", &["GET /a", &made_up(n)])).unwrap();
            assert!(claimed.conflicts.is_empty(), "{n}");
        }
        assert!(found(&directory, "GET", "/a").is_some());
        let all: Vec<String> = (0..2 * ROUTERS_MAX).map(made_up).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let conflicts = directory.claim(pipe(1), &hello("t", &all)).unwrap().conflicts;
        assert_eq!(conflicts.len(), 2 * ROUTERS_MAX - (ROUTERS_MAX - 2));
        assert_eq!(directory.entries().count(), ROUTERS_MAX);
    }

    #[test]
    fn services_are_bounded_and_those_without_instances_make_room() {
        let mut directory = Directory::default();
        for n in 0..SERVICES_MAX {
            directory
                .claim(pipe(u32::try_from(n).unwrap()), &hello(&format!("s{n}"), &["GET /same"]))
                .unwrap();
        }
        let refused = directory.claim(pipe(0), &hello("one more", &[]));
        assert_eq!(refused.unwrap_err(), HelloError::Services);
        assert_eq!(directory.service(0).unwrap().peers, [pipe(0)], "a refused hello changes nothing");
        directory.release(pipe(7));
        assert!(directory.claim(pipe(u32::MAX), &hello("one more", &[])).is_ok());
    }

    #[test]
    fn patterns_are_bounded_and_those_that_nobody_claims_make_room() {
        let mut directory = Directory::default();
        let routes: Vec<String> = (0..1024).map(|n| format!("GET /{n}/{{id}}")).collect();
        let of = |service: u32| {
            let routes: Vec<String> =
                routes.iter().map(|route| route.replace("{id}", &service.to_string())).collect();
            hello(&service.to_string(), &routes.iter().map(String::as_str).collect::<Vec<_>>())
        };
        for service in 0..16 {
            directory.claim(pipe(service), &of(service)).unwrap();
        }
        assert_eq!(directory.claim(pipe(16), &of(16)).unwrap_err(), HelloError::Routes(1024));
        directory.release(pipe(3));
        assert!(directory.find("GET", "/7/3").is_some(), "still known");
        for restart in 0..3 * 16 {
            directory.claim(pipe(16), &of(16)).unwrap();
            directory.release(pipe(16));
            directory.claim(pipe(17), &of(17 + restart)).unwrap();
            directory.release(pipe(17));
        }
        assert!(directory.find("GET", "/7/3").is_none() && directory.find("GET", "/7/4").is_some());
        assert!(directory.entries.len() <= ROUTES_MAX, "{}", directory.entries.len());
    }
}
