//! Both ends of the bus in one process and in virtual time, under random faults.
//!
//! Each seed is one run. In every run: a request ends once and in time, with its own answer or with
//! a reason; a request that must not be repeated is not repeated; nothing is left over; the
//! counters add up.

#[path = "pair/caller.rs"]
mod caller;
#[path = "pair/link.rs"]
mod link;
#[path = "fixtures/peer.rs"]
mod peer;
#[path = "pair/service.rs"]
mod service;
#[path = "pair/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use bus_proto::retry::ATTEMPTS_MAX;
use bus_proto::{Counters, Flags};
use caller::End;
use link::Weather;
use service::Service;
use world::World;

const CALM: Weather = Weather {
    splits: false,
    delay_max: Duration::from_micros(200),
    pause_max: Duration::ZERO,
    breaks: false,
    duplicates: false,
    hostile: false,
    restarts: false,
};

/// Runs with one set of faults; `BUS_SEED` selects a single one.
struct Histories {
    weather: Weather,
    next_seed: u64,
    run: u64,
    ends: BTreeMap<End, u64>,
    counters: BTreeMap<&'static str, u64>,
    retried: u64,
    is_sample: bool,
}

/// The number of runs that are always made, and the maximum that is made until every rare path was
/// reached.
const ALWAYS: u64 = 12;
const AT_MOST: u64 = 200;

impl Histories {
    fn run(weather: Weather) -> Self {
        let is_sample = std::env::var("BUS_SEED").is_ok();
        let next_seed = peer::seed_or(fastrand::u64(..u64::MAX / 2));
        let (ends, counters) = (BTreeMap::new(), BTreeMap::new());
        let mut all = Self { weather, next_seed, run: 0, ends, counters, retried: 0, is_sample };
        for _ in 0..if is_sample { 1 } else { ALWAYS } {
            all.run_one();
        }
        all
    }

    fn run_one(&mut self) {
        #[expect(clippy::print_stdout, reason = "seen when the test fails, to repeat it")]
        {
            println!("BUS_SEED={}", self.next_seed);
        }
        let mut world = World::new(self.weather, self.next_seed);
        world.run();
        self.add(&world);
        check(&world);
        self.next_seed += 1;
        self.run += 1;
    }

    fn add(&mut self, world: &World) {
        for caller in &world.callers {
            *self.ends.entry(caller.end.expect("checked by run")).or_insert(0) += 1;
            self.retried += u64::from(caller.attempts.saturating_sub(1));
        }
        for (name, count) in world.asker.counters.list() {
            *self.counters.entry(name).or_insert(0) += count;
        }
    }

    fn ended(&self, end: End) -> u64 {
        self.ends.get(&end).copied().unwrap_or(0)
    }

    /// Checks that the rare paths of this set of faults were reached, with further runs if needed.
    fn took(&mut self, ends: &[End], counters: &[&str]) {
        if self.is_sample {
            return;
        }
        while self.run < AT_MOST && !self.has_taken(ends, counters) {
            self.run_one();
        }
        assert!(
            self.has_taken(ends, counters),
            "{ends:?} of {:?}, {counters:?} of {:?}",
            self.ends,
            self.counters
        );
    }

    fn has_taken(&self, ends: &[End], counters: &[&str]) -> bool {
        ends.iter().all(|end| self.ended(*end) > 0) && counters.iter().all(|name| self.counters[name] > 0)
    }
}

fn check(world: &World) {
    let services: Vec<&Service> = world.services.iter().chain(&world.retired).collect();
    for caller in &world.callers {
        let seen: u32 = services.iter().filter_map(|service| service.seen.get(&caller.wanted.token)).sum();
        let once = !caller.flags.contains(Flags::IDEMPOTENT);
        assert!(seen <= if once { 1 } else { ATTEMPTS_MAX }, "{:?} was seen {seen} times", caller.wanted);
        assert!(seen <= caller.attempts && caller.attempts <= ATTEMPTS_MAX);
        let answered = matches!(caller.end, Some(End::Answered | End::AnsweredInParts));
        assert!(seen > 0 || !answered, "answered without having been received");
    }
    assert!(world.asker.pending.is_empty() && world.asker.pending.next_timeout().is_none());
    for (id, pipe) in world.asker.socket.pipes() {
        assert_eq!(pipe.load.in_flight, 0, "{id:?}");
    }
    add_up(world, &world.asker.counters);
    for service in services {
        let Counters { replies_sent, replies_dropped, .. } = service.node.counters;
        assert_eq!(replies_sent + replies_dropped, service.answers);
    }
}

fn add_up(world: &World, counters: &Counters) {
    let ended = |end: End| world.callers.iter().filter(|caller| caller.end == Some(end)).count() as u64;
    let broken = ended(End::PartsDeadline) + ended(End::PartsLost) + ended(End::PartsCancelled);
    let attempts: u64 = world.callers.iter().map(|caller| u64::from(caller.attempts)).sum();
    assert_eq!(counters.requests_sent, attempts);
    assert_eq!(counters.requests_refused, ended(End::Refused));
    assert_eq!(counters.requests_cancelled, ended(End::Cancelled) + ended(End::PartsCancelled));
    assert_eq!(counters.requests_expired, ended(End::Deadline) + ended(End::PartsDeadline));
    assert_eq!(counters.replies_received, ended(End::Answered) + ended(End::AnsweredInParts) + broken);
    // A reply that broke off between parts was received, and then expired, was lost or was
    // cancelled.
    let over = counters.requests_expired + counters.requests_lost + counters.requests_cancelled;
    assert_eq!(counters.requests_sent + broken, counters.replies_received + over);
}

#[test]
fn in_calm_weather_nothing_is_lost_or_sent_twice() {
    let mut all = Histories::run(CALM);
    all.took(&[End::Answered, End::AnsweredInParts, End::Deadline, End::Cancelled], &[]);
    assert_eq!((all.ended(End::Lost), all.ended(End::PartsLost), all.retried), (0, 0, 0));
    for quiet in ["bus.reply.foreign", "bus.reply.wrong_pipe", "bus.peers.silent", "bus.rejected.short"] {
        assert_eq!(all.counters[quiet], 0, "{quiet}");
    }
}

#[test]
fn splits_and_delays_change_nothing_but_time() {
    let weather = Weather { splits: true, delay_max: Duration::from_millis(30), ..CALM };
    let mut all = Histories::run(weather);
    all.took(&[End::Answered, End::AnsweredInParts, End::Deadline], &["bus.reply.late"]);
    assert_eq!((all.ended(End::Lost), all.retried), (0, 0));
}

#[test]
fn a_request_lost_with_its_pipe_is_retried_only_when_allowed() {
    let mut all = Histories::run(Weather { splits: true, breaks: true, ..CALM });
    all.took(&[End::Lost], &["bus.requests.lost"]);
    assert!(all.is_sample || all.retried > 0);
}

#[test]
fn pauses_make_peers_silent_and_their_requests_are_lost() {
    let mut all = Histories::run(Weather { splits: true, pause_max: Duration::from_secs(6), ..CALM });
    all.took(&[End::Lost, End::Deadline], &["bus.peers.silent", "bus.requests.lost"]);
}

#[test]
fn copied_and_forged_replies_end_no_request() {
    let mut all = Histories::run(Weather { duplicates: true, hostile: true, splits: true, ..CALM });
    all.took(&[End::Answered], &["bus.reply.foreign", "bus.reply.wrong_pipe", "bus.reply.late"]);
    assert_eq!(all.ended(End::Lost), 0);
}

#[test]
fn services_that_drain_and_return_lose_nothing() {
    let mut all = Histories::run(Weather { restarts: true, splits: true, ..CALM });
    all.took(&[End::Answered, End::AnsweredInParts], &["bus.pipes.closed"]);
    assert_eq!((all.ended(End::Lost), all.ended(End::PartsLost)), (0, 0));
}

#[test]
fn all_faults_at_once() {
    let mut all = Histories::run(Weather {
        splits: true,
        delay_max: Duration::from_millis(10),
        pause_max: Duration::from_secs(6),
        breaks: true,
        duplicates: true,
        hostile: true,
        restarts: true,
    });
    use End::{Answered, AnsweredInParts, Cancelled, Deadline, Lost};
    all.took(&[Answered, AnsweredInParts, Cancelled, Deadline, Lost], &["bus.reply.wrong_pipe"]);
}
