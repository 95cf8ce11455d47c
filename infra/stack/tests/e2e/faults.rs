//! One of two instances dies, or stops without dying, under load.
//!
//! In every case each client has an answer by the deadline, and `/stats` has counted what the
//! clients saw.

use std::collections::BTreeMap;
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::instance::{Instance, Treat};
use crate::load::{Load, Tally};
use crate::process::Process;
use crate::terminator::Terminator;
use crate::tools::program;
use crate::until::until;

const CLIENTS: usize = 16;

/// A terminator and two instances of profile, each with the same profile in a store of its own.
struct Pair {
    terminator: Terminator,
    first: Process,
    second: Process,
    _dirs: [TempDir; 2],
}

impl Pair {
    fn start(workers: &str) -> Self {
        let terminator = Terminator::start(&["--deadline", "2s", "--workers", workers]);
        let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let [first, second] = ["first", "second"].map(|name| {
            let dir = &dirs[usize::from(name == "second")];
            let store = format!("embedded:{}/data", dir.path().display());
            let file = dir.path().join("profiles.jsonl");
            std::fs::write(&file, "{\"id\":\"1\",\"name\":\"Ada\"}\n").unwrap();
            let mut load = Process::role("profile", &["--store", &store, "load", file.to_str().unwrap()]);
            assert!(load.wait().success(), "{:?}", load.lines());
            Process::role(
                "profile",
                &["--bus-dial", terminator.bus("ipc"), "--store", &store, "--instance", name],
            )
        });
        let pair = Self { terminator, first, second, _dirs: dirs };
        pair.terminator.wait_peers("profile", 2);
        pair
    }

    fn load(&self) -> Load {
        Load::start(self.terminator.http, CLIENTS, u64::MAX, |_| "/profiles/1".to_owned())
    }

    /// A figure of the first instance in `/peers`.
    fn of_first(&self, figure: &str) -> Option<u64> {
        let peers = self.terminator.peers("profile");
        peers.iter().find(|peer| peer["instance"] == "first")?[figure].as_u64()
    }

    /// Waits until the first instance, which has been stopped, holds requests that it will not
    /// answer: between two readings every worker has read what was available, and there was no
    /// reply.
    fn wait_in_flight(&self) {
        let mut before = None;
        until("the stopped instance has requests in hand", || {
            let (in_flight, replies) = (self.of_first("in_flight"), self.of_first("replies"));
            let stopped = before == Some(replies);
            before = Some(replies);
            if stopped && in_flight > Some(0) {
                Ok(())
            } else {
                Err(format!("{in_flight:?} in flight, {replies:?} replies"))
            }
        });
    }
}

/// What the terminator counted equals what the clients saw, status by status.
fn assert_accounted(terminator: &Terminator, seen: &Tally) {
    assert_eq!(seen.errors, 0, "every request has an answer: {seen:?}");
    assert_eq!(terminator.statuses(), seen.statuses);
}

fn killed_instance(workers: &str) {
    let mut pair = Pair::start(workers);
    let load = pair.load();
    load.wait_more(500);
    // Stopped first, so that it certainly dies with requests in hand.
    pair.first.signal(Signal::STOP);
    pair.wait_in_flight();
    pair.first.kill();
    pair.terminator.wait_peers("profile", 1);
    load.wait_more(500);
    let tally = load.stop();
    assert_accounted(&pair.terminator, &tally);
    let expired = pair.terminator.counter("bus.requests.expired");
    assert_eq!((tally.of(200) + expired, tally.of(504)), (tally.total(), expired), "{tally:?}");
    assert!(pair.terminator.counter("bus.requests.retried") >= 1);
}

fn stopped_instance(workers: &str) {
    let pair = Pair::start(workers);
    let load = pair.load();
    load.wait_more(500);
    pair.first.signal(Signal::STOP);
    pair.wait_in_flight();
    until("what it has in hand has ended without it", || match pair.of_first("failures") {
        Some(1..) => Ok(()),
        seen => Err(format!("{seen:?}")),
    });
    // The other instance continues to answer.
    load.wait_more(1000);
    assert_eq!(pair.terminator.peers("profile").len(), 2, "stopped, not gone");

    pair.first.signal(Signal::CONT);
    let replies = pair.of_first("replies");
    until("it serves again", || match pair.of_first("replies") {
        now if now > replies => Ok(()),
        now => Err(format!("{now:?}")),
    });
    let tally = load.stop();
    assert_accounted(&pair.terminator, &tally);
    assert_eq!(
        tally.of(200) + tally.of(504),
        tally.total(),
        "answers or the deadline, nothing else: {tally:?}"
    );
    assert!(tally.of(504) < tally.of(200) / 2, "the other one takes over: {tally:?}");
}

#[test]
fn requests_of_a_killed_instance_are_retried_on_the_other() {
    killed_instance("1");
}

#[test]
fn requests_of_a_killed_instance_are_retried_on_the_other_by_two_workers() {
    killed_instance("2");
}

#[test]
fn a_stopped_instance_costs_nobody_more_than_the_deadline() {
    stopped_instance("1");
}

#[test]
fn a_stopped_instance_costs_nobody_more_than_the_deadline_with_two_workers() {
    stopped_instance("2");
}

#[test]
fn an_answer_after_the_deadline_is_ignored_and_counted() {
    let terminator = Terminator::start(&["--deadline", "1s"]);
    let instance = Instance::dial(["late", "a"], &["GET /late/{n}"], [100, 0], Treat::Hold, &[&terminator]);
    terminator.wait_peers("late", 1);
    let tally = Load::start(terminator.http, 4, 4, |number| format!("/late/{number}")).finish();
    assert_eq!((tally.of(504), instance.held()), (4, 4), "{tally:?}");
    assert!(tally.samples[&504].contains("late"), "the reason names the service: {tally:?}");
    instance.release();
    terminator.wait_counter("bus.reply.late", 4);
    assert_eq!(terminator.get("/late/5").json()["path"], "/late/5", "the next request gets its own answer");
    assert_eq!(terminator.statuses(), BTreeMap::from([(200, 1), (504, 4)]));
}

#[test]
fn wrk_and_stats_agree_when_an_instance_is_killed() {
    let Some(wrk) = program("wrk") else { return };
    let mut pair = Pair::start("1");
    let url = format!("http://{}/profiles/1", pair.terminator.http);
    let mut command = Command::new(wrk);
    command.args(["-t1", &format!("-c{CLIENTS}"), "-d3s", "--timeout", "10s", &url]);
    let mut wrk = Process::start("wrk", &mut command);
    until("wrk is under way", || match pair.terminator.statuses().get(&200) {
        Some(500..) => Ok(()),
        seen => Err(format!("{seen:?}")),
    });
    pair.first.kill();
    assert!(wrk.wait().success());

    let lines = wrk.lines();
    let number = |mark: &str| -> u64 {
        let line = lines.iter().find(|line| line.contains(mark));
        line.map_or(0, |line| line.split_whitespace().find_map(|word| word.parse().ok()).expect(mark))
    };
    let (total, failed) = (number("requests in"), number("Non-2xx"));
    assert!(!lines.iter().any(|line| line.contains("Socket errors")), "{lines:?}");
    let counted = pair.terminator.statuses();
    let (sum, ok) = (counted.values().sum::<u64>(), counted.get(&200).copied().unwrap_or(0));
    // wrk does not count requests in flight at its end.
    assert!((total..=total + CLIENTS as u64).contains(&sum), "wrk saw {total}, /stats {counted:?}");
    assert_eq!(failed, sum - ok, "{counted:?}");
    assert_eq!(failed, 0, "GETs are retried on the other instance: {counted:?}");
}

#[test]
fn without_any_instance_requests_are_refused_at_once_and_counted() {
    let mut pair = Pair::start("1");
    pair.first.kill();
    pair.second.kill();
    pair.terminator.wait_peers("profile", 0);
    let tally = Load::start(pair.terminator.http, CLIENTS, 200, |_| "/profiles/1".to_owned()).finish();
    assert_eq!(pair.terminator.statuses(), BTreeMap::from([(503, 200)]));
    assert_accounted(&pair.terminator, &tally);
}
