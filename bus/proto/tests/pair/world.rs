//! One asker, some services, and the connections between them, in virtual time. Nothing waits in
//! real time, and everything depends on the seed.

use std::time::{Duration, Instant};

use bus_proto::{Envelope, Flags, Framing, Node, PipeId, Route};
use bytes::Bytes;

use crate::caller::Caller;
use crate::link::{Link, Weather};
use crate::peer;
use crate::service::Service;

const SERVICES: u64 = 3;
const CALLERS: u64 = 300;
/// Period in which requests are made.
const SPAN: Duration = Duration::from_secs(4);
/// Messages that the hostile peer has seen and may send again.
const OVERHEARD_MAX: usize = 64;

pub(crate) struct World {
    pub(crate) asker: Node,
    pub(crate) services: Vec<Service>,
    /// Number of services that drained and were replaced.
    pub(crate) retired: Vec<Service>,
    /// The callers, in the order of their start.
    pub(crate) callers: Vec<Caller>,
    begun: usize,
    /// Indices of the callers that have begun and not ended.
    active: Vec<usize>,
    pub(crate) hostile: PipeId,
    weather: Weather,
    rng: fastrand::Rng,
    now: Instant,
    epoch: Instant,
    route: Option<Route>,
    mishap_at: Instant,
    overheard: Vec<Bytes>,
    /// Delayed replies: when they arrive, and by which pipe.
    held: Vec<(Instant, PipeId, Bytes)>,
}

impl World {
    pub(crate) fn new(weather: Weather, seed: u64) -> Self {
        let now = peer::epoch();
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut asker = Node::new(peer::config(1), now);
        let hostile = asker.open_pipe(now, Framing::Tcp);
        let begin = now + Duration::from_millis(20);
        let start = |rng: &mut fastrand::Rng| begin + SPAN.mul_f64(rng.f64());
        let mut callers: Vec<Caller> =
            (0..CALLERS).map(|token| Caller::new(token, start(&mut rng), &mut rng)).collect();
        callers.sort_by_key(|caller| caller.start);
        Self {
            asker,
            services: (0..SERVICES).map(|number| Service::new(now, number, rng.u64(..))).collect(),
            retired: Vec::new(),
            callers,
            begun: 0,
            active: Vec::new(),
            hostile,
            weather,
            rng,
            now,
            epoch: now,
            route: None,
            mishap_at: begin,
            overheard: Vec::new(),
            held: Vec::new(),
        }
    }

    /// Runs until every caller has ended and everything in transit has arrived.
    pub(crate) fn run(&mut self) {
        let end = self.epoch + SPAN * 3;
        for _ in 0..1_000_000 {
            self.step();
            self.now = self.next();
            if self.now > end && self.active.is_empty() && self.begun == self.callers.len() {
                return;
            }
        }
        panic!("time does not pass: {:?} after a million steps", self.now - self.epoch);
    }

    fn step(&mut self) {
        let now = self.now;
        for at in 0..self.services.len() {
            self.connect(at);
            self.deliver(at);
            let service = &mut self.services[at];
            service.node.handle_timeout(now);
            service.work(now, &self.weather, &mut self.rng);
        }
        for (_, pipe, message) in self.held.extract_if(.., |(due, ..)| *due <= now) {
            self.asker.handle_message(now, pipe, message);
        }
        self.asker.handle_timeout(now);
        if now >= self.mishap_at {
            self.mishap_at = now + Duration::from_micros(self.rng.u64(0..60_000));
            if now < self.epoch + SPAN {
                self.mishap();
            }
        }
        self.retire();
        self.route = self.asker.directory.find("GET", "/x");
        if let Some(route) = self.route {
            while self.callers.get(self.begun).is_some_and(|caller| caller.start <= now) {
                self.callers[self.begun].begin(now);
                self.active.push(self.begun);
                self.begun += 1;
            }
            for at in &self.active {
                self.callers[*at].poll(now, &mut self.asker, route);
            }
            self.active.retain(|at| self.callers[*at].end.is_none());
        }
        for service in &mut self.services {
            let Some(link) = &mut service.link else { continue };
            let asker = &mut self.asker.socket.pipe_mut(link.asker).expect("linked").out;
            let answerer = &mut service.node.socket.pipe_mut(link.service).expect("linked").out;
            link.write(now, [asker, answerer], &self.weather, &mut self.rng);
        }
        if let Some(hostile) = self.asker.socket.pipe_mut(self.hostile) {
            hostile.out.take();
        }
    }

    fn connect(&mut self, at: usize) {
        let service = &mut self.services[at];
        if service.link.is_some() || self.now < service.dial_at {
            return;
        }
        let framing = if self.rng.bool() { Framing::Tcp } else { Framing::Ipc };
        let asker = self.asker.open_pipe(self.now, framing);
        let answerer = service.node.open_pipe(self.now, framing);
        service.link = Some(Link::new(self.now, framing, asker, answerer));
    }

    fn disconnect(&mut self, at: usize) {
        let service = &mut self.services[at];
        let Some(link) = service.link.take() else { return };
        self.asker.close_pipe(self.now, link.asker);
        service.node.close_pipe(self.now, link.service);
        service.dial_at = self.now + Duration::from_micros(self.rng.u64(0..200_000));
    }

    fn deliver(&mut self, at: usize) {
        let service = &mut self.services[at];
        let Some(link) = &mut service.link else { return };
        let (there, back) = link.read(self.now);
        let (asker, answerer) = (link.asker, link.service);
        for message in there {
            self.overhear(&message);
            self.services[at].take(self.now, answerer, message, &mut self.rng);
        }
        for message in back {
            self.overhear(&message);
            if self.weather.duplicates && is_whole_reply(&message) && self.rng.u8(..) < 60 {
                let due = self.now + Duration::from_micros(self.rng.u64(0..50_000));
                self.held.push((due, asker, message.clone()));
                if self.rng.bool() {
                    continue; // This reply arrives later than those behind it.
                }
            }
            self.asker.handle_message(self.now, asker, message);
        }
    }

    fn overhear(&mut self, message: &Bytes) {
        if self.overheard.len() < OVERHEARD_MAX {
            self.overheard.push(message.clone());
        } else {
            let at = self.rng.usize(..OVERHEARD_MAX);
            self.overheard[at] = message.clone();
        }
    }

    fn mishap(&mut self) {
        let at = self.rng.usize(..self.services.len());
        match self.rng.u8(..8) {
            0..2 if self.weather.breaks => self.disconnect(at),
            2 if !self.weather.pause_max.is_zero() && self.rng.u8(..) < 60 => {
                let until = self.now + self.weather.pause_max.mul_f64(self.rng.f64().powi(4));
                if let Some(link) = &mut self.services[at].link {
                    link.pause(until);
                }
            }
            4 if self.weather.restarts => self.services[at].drain(self.now),
            _ if self.weather.hostile => self.attack(at),
            _ => {}
        }
    }

    /// Sends messages that were seen before, in any order, on the hostile peer's pipe; sometimes
    /// replies under another peer's id.
    fn attack(&mut self, at: usize) {
        for _ in 0..self.rng.usize(1..8) {
            if self.overheard.is_empty() {
                return;
            }
            let message = self.overheard[self.rng.usize(..self.overheard.len())].clone();
            let Ok(envelope) = Envelope::decode(message.clone()) else { continue };
            match envelope.header().kind {
                bus_proto::Kind::Reply => {
                    let mut message = message.to_vec();
                    message[8] ^= u8::from(self.rng.u8(..) < 60);
                    self.asker.handle_message(self.now, self.hostile, message.into());
                }
                bus_proto::Kind::Hello => {} // It would become an instance that never answers.
                _ => {
                    let hostile = self.services[at].hostile;
                    if self.services[at].node.socket.pipe(hostile).is_none() {
                        continue;
                    }
                    self.services[at].take(self.now, hostile, message, &mut self.rng);
                }
            }
        }
    }

    /// Replaces the services whose drain has been read and whose work is finished.
    fn retire(&mut self) {
        for at in 0..self.services.len() {
            let service = &self.services[at];
            let is_written = service.node.socket.pipes().all(|(_, pipe)| pipe.out.is_empty());
            let is_drained = service.node.is_draining() && service.node.drain_was_read();
            let is_quiet = service.link.as_ref().is_none_or(Link::is_quiet);
            if is_drained && is_written && is_quiet && service.is_idle() {
                self.disconnect(at);
                let mut fresh = Service::new(self.now, at as u64, self.rng.u64(..));
                fresh.dial_at = self.now + Duration::from_millis(30);
                self.retired.push(std::mem::replace(&mut self.services[at], fresh));
            }
        }
    }

    fn next(&self) -> Instant {
        let links = self.services.iter().filter_map(|service| {
            let Some(link) = &service.link else { return Some(service.dial_at) };
            let asker = &self.asker.socket.pipe(link.asker).expect("linked").out;
            let answerer = &service.node.socket.pipe(link.service).expect("linked").out;
            link.next([asker, answerer])
        });
        let next = links
            .chain(self.services.iter().map(Service::next))
            .chain(self.active.iter().filter_map(|at| self.callers[*at].leaves))
            .chain(self.callers.get(self.begun).map(|caller| caller.start))
            .chain(self.held.iter().map(|(due, ..)| *due))
            .chain([self.mishap_at, self.asker.next_timeout()])
            .min();
        next.expect("there is always a mishap ahead").max(self.now + Duration::from_micros(1))
    }
}

fn is_whole_reply(message: &Bytes) -> bool {
    let Ok(envelope) = Envelope::decode(message.clone()) else { return false };
    // The last part of a reply in parts has no head.
    let is_reply = envelope.header().kind == bus_proto::Kind::Reply;
    is_reply && !envelope.header().flags.contains(Flags::MORE) && envelope.field("whole").is_some()
}
