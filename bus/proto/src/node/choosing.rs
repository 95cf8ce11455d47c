//! The choice of an instance for a request.
//!
//! Owns which instances of a route a request may go to, and in which order they are tried. Leaves
//! the comparison of instances to `balancer`. Invariant: a request counts as in flight on the pipe
//! that was chosen for it.

use std::time::Instant;

use super::{Node, Refused};
use crate::balancer;
use crate::directory::Route;
use crate::envelope::Flags;
use crate::socket::{Pipe, PipeId, Socket};
use crate::version::VersionId;

/// Which instances of its route a request may go to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum To {
    /// Every instance.
    #[default]
    Any,
    /// The instances of this version. When none of them can take the request, it goes to any other
    /// instance and is counted ([`Counters::pins_missed`](crate::Counters::pins_missed)).
    Prefer(VersionId),
    /// The instances of this version, and no other.
    Only(VersionId),
    /// Every instance but those of this version.
    Except(VersionId),
    /// The instances of the same version as the one behind this pipe, without that one unless no
    /// other takes requests. None when the pipe is closed.
    Beside(PipeId),
}

/// A pipe that was chosen, and the virtual time of those that it was chosen from.
pub(super) struct Choice {
    pub(super) pipe: PipeId,
    pub(super) virtual_time: u64,
}

impl Node {
    /// Chooses the best instance of a route and counts a request as in flight there. A request with
    /// the flag `shadow` is the first to be dropped: it gets only places that leave half of the
    /// limit and of the out-queue to others.
    #[inline]
    pub(super) fn choose(
        &mut self,
        now: Instant,
        route: Route,
        flags: Flags,
        to: To,
    ) -> Result<Choice, Refused> {
        let is_plain = to == To::Any && !flags.contains(Flags::SHADOW);
        loop {
            let (chosen, missed) = if is_plain {
                (self.choose_any(now, route, |_, pipe| pipe.has_room()), false)
            } else {
                self.choose_to(now, route, flags, to)
            };
            let Some(chosen) = chosen else { return Err(self.why_none(route, to)) };
            let pipe = self.socket.pipe_mut(chosen.pipe).expect("only open pipes are candidates");
            let limit = pipe.limit();
            // If another worker has taken the last place meanwhile, this pipe is no longer a
            // candidate.
            if pipe.load.enter(limit) {
                self.counters.pins_missed += u64::from(missed);
                return Ok(chosen);
            }
        }
    }

    /// Any instance for which `may` is true.
    #[inline]
    fn choose_any(
        &mut self,
        now: Instant,
        route: Route,
        may: impl Fn(PipeId, &Pipe) -> bool,
    ) -> Option<Choice> {
        let (entry, service) = self.directory.entry_and_service(route)?;
        let (pipes, virtual_time) = (entry.peers.all(), service.virtual_time);
        let among = Among { socket: &self.socket, pipes, virtual_time, last: service.last };
        let pipe = among.pick(&mut self.rng, now, may)?;
        service.last = Some(pipe);
        Some(Choice { pipe, virtual_time })
    }

    /// An instance of this version for which `may` is true.
    fn choose_version(
        &mut self,
        now: Instant,
        route: Route,
        version: VersionId,
        may: impl Fn(PipeId, &Pipe) -> bool,
    ) -> Option<Choice> {
        let (entry, _) = self.directory.entry_and_service(route)?;
        let group = entry.peers.group(version)?;
        // The service's virtual time is that of all versions. A version with a small share of the
        // requests would be behind it with all its instances, and they could not be compared.
        let turn = |pipe: &PipeId| Some(self.socket.pipe(*pipe)?.load.turn());
        let virtual_time = group.pipes.iter().filter_map(turn).max().unwrap_or(0);
        let among = Among { socket: &self.socket, pipes: &group.pipes, virtual_time, last: group.last };
        let pipe = among.pick(&mut self.rng, now, may)?;
        group.last = Some(pipe);
        Some(Choice { pipe, virtual_time })
    }

    /// The choice for a request that not every instance may get, or that must leave places free;
    /// true when it is of another version than the preferred one.
    fn choose_to(&mut self, now: Instant, route: Route, flags: Flags, to: To) -> (Option<Choice>, bool) {
        let has_room = if flags.contains(Flags::SHADOW) { Pipe::has_room_to_spare } else { Pipe::has_room };
        let may = |_: PipeId, pipe: &Pipe| has_room(pipe);
        match to {
            To::Any => (self.choose_any(now, route, may), false),
            To::Only(version) => (self.choose_version(now, route, version, may), false),
            To::Except(version) => {
                (self.choose_any(now, route, |_, pipe| has_room(pipe) && pipe.version != version), false)
            }
            To::Prefer(version) => match self.choose_version(now, route, version, may) {
                Some(chosen) => (Some(chosen), false),
                None => (self.choose_any(now, route, may), true),
            },
            To::Beside(original) => {
                let Some(pipe) = self.socket.pipe(original) else { return (None, false) };
                let version = pipe.version;
                let name = pipe.hello.as_ref().map(|hello| hello.instance.clone()).unwrap_or_default();
                let is_same = |id: PipeId, pipe: &Pipe| {
                    let has_name = |hello: &crate::Hello| !name.is_empty() && hello.instance == name;
                    id == original || pipe.hello.as_ref().is_some_and(has_name)
                };
                let is_other = |id: &PipeId| {
                    self.socket.pipe(*id).is_some_and(|pipe| pipe.takes_requests() && !is_same(*id, pipe))
                };
                let peers = self.directory.entry(route).map_or(&[][..], |entry| entry.peers.of(version));
                let is_only = !peers.iter().any(is_other);
                let may = |id: PipeId, pipe: &Pipe| has_room(pipe) && (is_only || !is_same(id, pipe));
                (self.choose_version(now, route, version, may), false)
            }
        }
    }

    pub(super) fn why_none(&self, route: Route, to: To) -> Refused {
        let Some(entry) = self.directory.entry(route) else { return Refused::NoInstance };
        let peers = match to {
            To::Only(version) => entry.peers.of(version),
            To::Any | To::Prefer(_) | To::Except(_) | To::Beside(_) => entry.peers.all(),
        };
        let may = |pipe: &Pipe| to != To::Except(pipe.version) && pipe.takes_requests();
        let takes = |peer: &&PipeId| self.socket.pipe(**peer).is_some_and(may);
        match peers.iter().filter(takes).count() {
            0 => Refused::NoInstance,
            instances => Refused::Busy { instances },
        }
    }
}

/// The pipes that a request may go to.
struct Among<'a> {
    socket: &'a Socket,
    pipes: &'a [PipeId],
    virtual_time: u64,
    /// The one that got the last request. Later requests of the same turn may go there too.
    last: Option<PipeId>,
}

impl Among<'_> {
    /// The best pipe that takes requests and for which `may` is true.
    #[inline]
    fn pick(
        &self,
        rng: &mut fastrand::Rng,
        now: Instant,
        may: impl Fn(PipeId, &Pipe) -> bool,
    ) -> Option<PipeId> {
        let (socket, pipes) = (self.socket, self.pipes);
        let candidate = |at: usize, takes: fn(&Socket, &Pipe) -> bool| {
            let pipe = socket.pipe(pipes[at])?;
            (takes(socket, pipe) && may(pipes[at], pipe)).then_some((&pipe.load, pipe.share))
        };
        let running = self.last.filter(|_| pipes.len() > 1).and_then(|last| {
            let unwritten = Some(socket.pipe(last)?.out.messages()).filter(|messages| *messages > 0)?;
            let at = pipes.iter().position(|peer| *peer == last)?;
            balancer::goes_on(candidate(at, takes_requests)?, unwritten).then_some(at)
        });
        let mut pick = |takes: fn(&Socket, &Pipe) -> bool| {
            balancer::pick(rng, now, self.virtual_time, pipes.len(), |at| candidate(at, takes))
        };
        let picked = running.or_else(|| pick(takes_requests)).or_else(|| pick(has_spare_places))?;
        Some(pipes[picked])
    }
}

fn takes_requests(_: &Socket, pipe: &Pipe) -> bool {
    pipe.takes_requests()
}

/// True for another worker's connection to an instance when this worker's own connection has
/// reached its `limit`: the limit applies to each connection, so the other one may have places
/// left. False when the out-queue of the own connection is full: then the instance does not read,
/// and a request would only wait in another queue until its deadline.
fn has_spare_places(socket: &Socket, pipe: &Pipe) -> bool {
    let own = pipe.redundant_to.and_then(|own| socket.pipe(own));
    pipe.is_willing() && own.is_some_and(|own| !own.load.is_below(own.limit()))
}
