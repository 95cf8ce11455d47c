//! Invalid input on the bus and on HTTP: no process dies, memory does not grow, and everything is
//! counted by reason.
//!
//! `GARBAGE_CONNECTIONS` sets the length of the storm, `GARBAGE_SEED` repeats one.

mod http;
mod sp;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::instance::{Instance, Treat};
use crate::load::Load;
use crate::terminator::Terminator;
use crate::until::until;
use crate::wire::{CANCEL, Message, Pipe, REPLY};

/// Connections of the storm by default; CI's slow part uses 100 000.
const CONNECTIONS: u64 = 4000;
/// Threads of the storm.
const THREADS: u64 = 4;
/// Allowed growth of the terminator's memory during nine tenths of the storm, whatever its length.
/// Buffers of live connections and the allocator's slack amount to a few MiB; a leak of 1 KiB per
/// connection would be 90 MiB in CI.
const GROWTH_KIB: u64 = 24 * 1024;

fn seed() -> u64 {
    let seed = std::env::var("GARBAGE_SEED").ok().map(|text| text.parse().expect("GARBAGE_SEED is a number"));
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("GARBAGE_SEED={seed}");
    seed
}

fn connections() -> u64 {
    std::env::var("GARBAGE_CONNECTIONS")
        .map_or(CONNECTIONS, |text| text.parse().expect("GARBAGE_CONNECTIONS is a number"))
}

/// The counters of refused input that are not zero.
fn refused(terminator: &Terminator) -> BTreeMap<String, u64> {
    let prefixes = ["bus.rejected.", "bus.reply."];
    let all = prefixes.iter().flat_map(|prefix| terminator.counters(prefix));
    all.filter(|(_, count)| *count > 0).collect()
}

fn every_kind_of_garbage_is_counted(scheme: &str) {
    let terminator = Terminator::start(&[]);
    let url = terminator.bus(scheme);
    let mut expected = BTreeMap::<String, u64>::new();
    let mut expect = |reason: &str| *expected.entry(format!("bus.rejected.{reason}")).or_default() += 1;

    for (reason, bytes) in sp::streams(scheme) {
        let mut pipe = Pipe::connect(url).unwrap();
        pipe.read_timeout(Duration::from_secs(30));
        let _ = pipe.write_all(&bytes); // A pipe refused in the middle is closed in the middle.
        if reason == "truncated" {
            pipe.shutdown(std::net::Shutdown::Write);
        }
        let end = pipe.read_to_end(&mut Vec::new());
        let is_open = end.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!is_open, "{reason}: the terminator does not close {bytes:02x?}");
        expect(reason);
    }

    let mut pipe = Pipe::open(url).unwrap();
    pipe.read_timeout(Duration::from_secs(30));
    for (reason, payload) in sp::messages() {
        pipe.send(&payload).unwrap();
        if !reason.is_empty() {
            expect(reason);
        }
    }
    pipe.ping().expect("what cannot be decoded is dropped, and the pipe stays open");

    until("every rejection is counted, by its reason and once", || match refused(&terminator) {
        seen if seen == expected => Ok(()),
        seen => Err(format!("{seen:?}\nexpected: {expected:?}")),
    });
}

#[test]
fn every_kind_of_garbage_on_tcp_is_counted_by_reason() {
    every_kind_of_garbage_is_counted("tcp");
}

#[test]
fn every_kind_of_garbage_on_ipc_is_counted_by_reason() {
    every_kind_of_garbage_is_counted("ipc");
}

#[test]
fn replies_that_nobody_waits_for_touch_no_request() {
    let terminator = Terminator::start(&["--deadline", "20s"]);
    let mut instance =
        Instance::dial(["share", "a"], &["GET /share/{n}"], [100, 0], Treat::Hold, &[&terminator]);
    terminator.wait_peers("share", 1);
    let load = Load::start(terminator.http, 1, 1, |number| format!("/share/{number}"));
    until("the request is held", || if instance.held() == 1 { Ok(()) } else { Err("no".to_owned()) });
    let asked = instance.handled()[0];

    // Another peer answers and cancels a request that it was not sent; then a request that does not
    // exist.
    let mut stranger = Pipe::open(terminator.bus("tcp")).unwrap();
    let mut lie = Message::new(REPLY, &[]);
    (lie.correlation, lie.status, lie.body) = (asked, 200, b"a lie".to_vec());
    stranger.send(&lie.pack()).unwrap();
    let mut cancel = Message::new(CANCEL, &[]);
    cancel.correlation = asked;
    stranger.send(&cancel.pack()).unwrap();
    lie.correlation = [0xEE; 16];
    stranger.send(&lie.pack()).unwrap();
    stranger.ping().unwrap();
    assert_eq!(terminator.counter("bus.reply.wrong_pipe"), 1);
    assert_eq!(terminator.counter("bus.reply.foreign"), 1);

    instance.release();
    let tally = load.finish();
    assert_eq!(tally.of(200), 1, "{tally:?}");

    // The instance of the request answers it repeatedly.
    lie.correlation = asked;
    for _ in 0..3 {
        instance.send(&lie.pack());
    }
    terminator.wait_counter("bus.reply.late", 3);
    assert_eq!(terminator.get("/share/2").json()["path"], "/share/2");
    assert_eq!(terminator.counter("bus.replies.received"), 2);
}

#[test]
fn malformed_http_is_answered_and_counted_by_its_reason() {
    let terminator = Terminator::start(&[]);
    let mut answered = BTreeMap::<u16, u64>::new();
    for (what, bytes, statuses) in http::requests() {
        let answer = exchange(terminator.http, &bytes);
        let status = answer.get(9..12).and_then(|code| code.parse::<u16>().ok());
        let status = status.filter(|status| statuses.contains(status));
        let status =
            status.unwrap_or_else(|| panic!("{what}: one of {statuses:?} expected, got: {answer:?}"));
        *answered.entry(status).or_default() += 1;
    }
    until("/stats has counted every answer", || match terminator.statuses() {
        counted if counted == answered => Ok(()),
        counted => Err(format!("{counted:?}, answered: {answered:?}")),
    });
    let rejected = terminator.rejected();
    assert_eq!(
        rejected.values().sum::<u64>(),
        answered.values().sum::<u64>(),
        "each has one reason: {rejected:?}"
    );
    for reason in ["framing", "malformed", "head_too_large"] {
        assert!(rejected.contains_key(reason), "no {reason} in {rejected:?}");
    }
    assert_eq!(terminator.get("/nobody").status, 404, "it serves on");
}

#[test]
fn a_storm_of_garbage_changes_nothing_for_honest_requests() {
    let (seed, connections) = (seed(), connections());
    let mut terminator = Terminator::start(&["--deadline", "20s"]);
    let _instance =
        Instance::dial(["share", "a"], &["GET /share/{n}"], [100, 0], Treat::Answer, &[&terminator]);
    terminator.wait_peers("share", 1);
    let load = Load::start(terminator.http, 2, u64::MAX, |number| format!("/share/{number}"));

    storm(&terminator, seed, connections / 10);
    let before = terminator.process.resident_kib();
    storm(&terminator, seed.wrapping_add(1), connections - connections / 10);
    let after = terminator.process.resident_kib();
    eprintln!("resident: {before} KiB after a tenth, {after} KiB at the end");

    load.wait_more(100);
    let tally = load.stop();
    assert!(terminator.process.is_running());
    assert_eq!((tally.of(200), tally.errors), (tally.total(), 0), "{tally:?}");
    assert!(after < before + GROWTH_KIB, "memory grew from {before} to {after} KiB");
    let refused = refused(&terminator);
    eprintln!("refused: {refused:?}");
    for reason in ["opening", "protocol", "too_long", "truncated", "short", "version", "kind", "head_length"]
    {
        assert!(refused.contains_key(&format!("bus.rejected.{reason}")), "no {reason} in {refused:?}");
    }
    let rejected = terminator.rejected();
    eprintln!("rejected: {rejected:?}");
    // A short storm hits the other reasons by chance; `malformed_http_...` covers each of them.
    assert!(rejected.contains_key("malformed"), "{rejected:?}");
    terminator.wait_peers("share", 1);
    until("every pipe of the storm is gone", || match terminator.peers("").len() {
        1 => Ok(()),
        count => Err(count.to_string()),
    });
}

/// Opens `connections` in all on the bus and on HTTP, from several threads.
fn storm(terminator: &Terminator, seed: u64, connections: u64) {
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(seed.wrapping_mul(THREADS).wrapping_add(thread));
                for _ in 0..connections / THREADS {
                    match rng.u8(..3) {
                        0 => {
                            throw(Pipe::connect(terminator.bus("tcp")).unwrap(), &sp::random(&mut rng, false))
                        }
                        1 => {
                            throw(Pipe::connect(terminator.bus("ipc")).unwrap(), &sp::random(&mut rng, true))
                        }
                        _ => throw(TcpStream::connect(terminator.http).unwrap(), &http::random(&mut rng)),
                    }
                }
            });
        }
    });
}

/// Writes as much as is accepted, and closes.
fn throw(mut connection: impl Write, bytes: &[u8]) {
    let _ = connection.write_all(bytes);
}

/// The status line of the answer.
fn exchange(http: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(http).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // The terminator may answer and close before it has read everything.
    let _ = stream.write_all(bytes);
    let mut line = String::new();
    let _ = BufReader::new(stream).read_line(&mut line);
    line
}
