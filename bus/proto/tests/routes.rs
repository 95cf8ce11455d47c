//! The route table compared with a naive one over random hellos. Peers choose the patterns, so none
//! of them may cause a panic.

#[path = "fixtures/peer.rs"]
mod peer;

use bus_proto::directory::Directory;
use bus_proto::{Hello, Pattern, PipeId, VersionId};
use peer::seed_or;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};

const PIPES: u32 = 4;

/// Two versions of every service.
fn version(pipe: PipeId) -> &'static str {
    if pipe.index.is_multiple_of(2) { "0" } else { "1" }
}

#[derive(Clone, Debug)]
enum Op {
    Claim { pipe: u32, service: u8, routes: Vec<String> },
    Release { pipe: u32 },
    Find { method: &'static str, path: String },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let word = || prop_oneof![Just(""), Just("a"), Just("ab"), Just("b"), Just("é")];
    let segment = prop_oneof![
        6 => word().prop_map(str::to_owned),
        4 => prop_oneof![Just("{x}"), Just("{y}")].prop_map(str::to_owned),
    ];
    let rest = prop::option::weighted(0.3, Just("{*rest}".to_owned()));
    let route =
        (prop_oneof![Just("GET"), Just("*"), Just("PUT")], prop::collection::vec(segment, 0..4), rest)
            .prop_map(|(method, segments, rest)| {
                let segments: Vec<String> = segments.into_iter().chain(rest).collect();
                format!("{method} /{}", segments.join("/"))
            });
    let path = prop::collection::vec(word(), 0..5).prop_map(|words| format!("/{}", words.join("/")));
    let op = prop_oneof![
        3 => (0..PIPES, 0..3u8, prop::collection::vec(route, 0..5))
            .prop_map(|(pipe, service, routes)| Op::Claim { pipe, service, routes }),
        1 => (0..PIPES).prop_map(|pipe| Op::Release { pipe }),
        8 => (prop_oneof![Just("GET"), Just("PUT"), Just("POST")], path)
            .prop_map(|(method, path)| Op::Find { method, path }),
    ];
    prop::collection::vec(op, 1..60)
}

/// A naive route table: a list of patterns that is searched linearly.
#[derive(Default)]
struct Naive {
    entries: Vec<Entry>,
    /// The service of each pipe.
    said: Vec<(PipeId, u8)>,
}

struct Entry {
    method: Option<String>,
    segments: Vec<Segment>,
    service: u8,
    owner: u8,
    peers: Vec<PipeId>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Literal(String),
    One,
    Rest,
}

fn segments(pattern: &Pattern) -> Vec<Segment> {
    let segment = |text: &str| match text {
        _ if text.starts_with("{*") => Segment::Rest,
        _ if text.starts_with('{') => Segment::One,
        _ => Segment::Literal(text.to_owned()),
    };
    pattern.path[1..].split('/').map(segment).collect()
}

fn matches(segments: &[Segment], path: &str) -> bool {
    let (first, more) = path.split_once('/').map_or((path, None), |(first, more)| (first, Some(more)));
    let fits = match segments.first() {
        None => return false,
        Some(Segment::Rest) => return !path.is_empty(),
        Some(Segment::One) => !first.is_empty(),
        Some(Segment::Literal(text)) => text == first,
    };
    fits && match more {
        None => segments.len() == 1,
        Some(more) => matches(&segments[1..], more),
    }
}

impl Naive {
    fn release(&mut self, pipe: PipeId) {
        self.said.retain(|(other, _)| *other != pipe);
        for entry in &mut self.entries {
            entry.peers.retain(|other| *other != pipe);
        }
    }

    /// Claims `routes` for the service behind `pipe`. Returns those that another service holds.
    fn claim(&mut self, pipe: PipeId, service: u8, routes: &[Pattern]) -> Vec<Pattern> {
        self.release(pipe);
        self.said.push((pipe, service));
        let mut conflicts = Vec::new();
        for pattern in routes {
            let segments = segments(pattern);
            let same = |entry: &&mut Entry| entry.method == pattern.method && entry.segments == segments;
            match self.entries.iter_mut().find(same) {
                None => {
                    let method = pattern.method.clone();
                    self.entries.push(Entry { method, segments, service, owner: service, peers: vec![pipe] });
                }
                Some(entry) if entry.service == service => {
                    if !entry.peers.contains(&pipe) {
                        entry.peers.push(pipe);
                    }
                }
                Some(entry) if entry.owner == service => {
                    (entry.service, entry.peers) = (service, vec![pipe]);
                }
                Some(entry) if self.said.iter().any(|(_, other)| *other == entry.service) => {
                    conflicts.push(pattern.clone());
                }
                Some(entry) => (entry.service, entry.peers) = (service, vec![pipe]),
            }
        }
        for entry in &mut self.entries {
            if entry.owner == service && entry.service != service {
                entry.owner = entry.service;
            } else if entry.service == service && entry.peers.is_empty() {
                entry.service = entry.owner;
            }
        }
        self.entries.retain(|entry| entry.service != service || !entry.peers.is_empty());
        conflicts
    }

    /// Returns the first match by the kinds of its segments. Of two equal ones, a pattern with an
    /// instance comes first, then a pattern with a method. Time does not advance here, so a pattern
    /// without instances keeps its paths.
    fn find(&self, method: &str, path: &str) -> Option<&Entry> {
        let fits = |entry: &&Entry| {
            entry.method.as_deref().is_none_or(|own| own == method) && matches(&entry.segments, &path[1..])
        };
        let rank = |entry: &&Entry| {
            let kinds = entry.segments.iter().map(|segment| match segment {
                Segment::Literal(_) => 0,
                Segment::One => 1,
                Segment::Rest => 2,
            });
            (kinds.collect::<Vec<u8>>(), entry.peers.is_empty(), entry.method.is_none())
        };
        self.entries.iter().filter(fits).min_by_key(rank)
    }
}

fn run(ops: &[Op]) {
    let (mut directory, mut naive) = (Directory::new(std::time::Instant::now()), Naive::default());
    let id = |index| PipeId { index, generation: 0 };
    for op in ops {
        match op {
            Op::Claim { pipe, service, routes } => {
                let mut hello = Hello::new(service.to_string(), version(id(*pipe)), pipe.to_string());
                hello.routes = routes.iter().map(|route| route.parse().expect("sound")).collect();
                let claimed = directory.claim(id(*pipe), &hello).expect("far from the limits");
                let conflicts: Vec<Pattern> =
                    claimed.conflicts.into_iter().map(|(pattern, _)| pattern).collect();
                assert_eq!(conflicts, naive.claim(id(*pipe), *service, &hello.routes));
            }
            Op::Release { pipe } => {
                directory.release(id(*pipe));
                naive.release(id(*pipe));
            }
            Op::Find { method, path } => {
                let found = directory.find(method, path);
                let found = found.map(|route| {
                    let entry = directory.entry(route).expect("found a moment ago");
                    let service = &directory.service(entry.service).expect("known").name;
                    for text in ["0", "1"] {
                        let of = |pipe: &&PipeId| version(**pipe) == text;
                        let wanted: Vec<PipeId> = entry.peers.all().iter().filter(of).copied().collect();
                        assert_eq!(entry.peers.of(VersionId::of(text)), wanted, "{text} of {method} {path}");
                    }
                    (
                        entry.pattern.method.clone(),
                        segments(&entry.pattern),
                        service.clone(),
                        entry.peers.all().to_vec(),
                    )
                });
                let expected = naive.find(method, path).map(|entry| {
                    let service = entry.service.to_string();
                    (entry.method.clone(), entry.segments.clone(), service, entry.peers.clone())
                });
                assert_eq!(found, expected, "{method} {path}");
            }
        }
    }
    assert_eq!(directory.entries().count(), naive.entries.len());
}

#[test]
fn the_route_table_agrees_with_a_naive_one() {
    let seed = seed_or(fastrand::u64(..));
    println!("BUS_SEED={seed}");
    let config = Config {
        cases: 4000,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None, // BUS_SEED repeats it.
        ..Config::default()
    };
    let tested = TestRunner::new(config).run(&ops(), |ops| {
        run(&ops);
        Ok(())
    });
    tested.unwrap();
}

/// Every text that parses as a pattern can be claimed.
#[test]
fn no_pattern_that_parses_makes_the_table_panic() {
    let seed = seed_or(fastrand::u64(..));
    println!("BUS_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let alphabet = ['/', '/', '{', '}', '*', 'a', 'b', ':', '%', '.', '\\', '\0', 'é', '\u{10FFFF}'];
    let mut parsed = 0;
    for _ in 0..300 {
        let mut directory = Directory::new(std::time::Instant::now());
        for n in 0..60 {
            let path: String = (0..rng.usize(..9)).map(|_| rng.choice(alphabet).unwrap()).collect();
            let Ok(pattern) = format!("* /{path}").parse::<Pattern>() else { continue };
            parsed += 1;
            let mut hello = Hello::new(rng.usize(..3).to_string(), "1", "i");
            hello.routes.push(pattern.clone());
            let pipe = PipeId { index: n % 4, generation: 0 };
            let claimed = directory.claim(pipe, &hello).unwrap();
            if claimed.conflicts.is_empty() && !pattern.path.contains(['{', '}']) {
                assert!(directory.find("GET", &pattern.path).is_some(), "{pattern}");
            }
        }
    }
    assert!(parsed > 1000, "{parsed}");
}
