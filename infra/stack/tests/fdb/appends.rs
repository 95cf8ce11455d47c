//! Conditional appends from two processes of events, checked by a model that knows only streams,
//! version numbers and positions.
//!
//! A writer reads a stream, and appends the next versions on the condition that nothing came behind
//! what it read: optimistic concurrency, as applications use it. `PAIR_SEED` determines what is
//! attempted; the interleaving is not determined.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::http::Client;
use crate::site::Site;

/// Attempts of all writers; `PAIR_APPENDS` sets another number.
const APPENDS: u64 = 1_000;
const WRITERS: u64 = 8;
/// Few enough that writers meet.
const STREAMS: u64 = 5;

fn from_environment(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    let value = given.unwrap_or(default);
    eprintln!("{name}={value}");
    value
}

/// One append and its answer.
struct Attempt {
    stream: u64,
    /// Versions of the new events.
    versions: std::ops::Range<u64>,
    ids: Vec<String>,
    /// The writer had read the stream up to here.
    after: String,
    /// `None` when it was refused.
    positions: Option<Vec<String>>,
}

/// An event in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    position: String,
    id: String,
    stream: u64,
    version: u64,
}

fn seen(event: &Value) -> Seen {
    let text = |field: &str| event[field].as_str().unwrap().to_owned();
    let number = |field: &str| event["data"][field].as_u64().unwrap();
    Seen { position: text("position"), id: text("id"), stream: number("stream"), version: number("version") }
}

/// Reads the events that match `query` after `after`, to the end: the events and where they end.
fn read(client: &mut Client, query: &str, after: &str, limit: u64) -> (Vec<Seen>, String) {
    let (mut all, mut after) = (Vec::new(), after.to_owned());
    loop {
        let path = format!("/events?{query}&limit={limit}&after={after}");
        let page = client.send("GET", &path, &[], b"").unwrap();
        assert_eq!(page.status, 200, "{}", page.text());
        let page = page.json();
        all.extend(page["events"].as_array().unwrap().iter().map(seen));
        page["position"].as_str().unwrap().clone_into(&mut after);
        if page["more"] == json!(false) {
            return (all, after);
        }
    }
}

/// What a writer knows of a stream: its version, and how far it has read.
type Known = HashMap<u64, (u64, String)>;

fn attempt(client: &mut Client, rng: &mut fastrand::Rng, known: &mut Known, writer: u64) -> Attempt {
    let stream = rng.u64(..STREAMS);
    let (version, after) = known.entry(stream).or_default();
    // Sometimes from what it knew before, which another writer has probably overtaken.
    if rng.u8(..4) > 0 {
        let (new, position) = read(client, &format!("tags=stream:{stream}"), after, 1000);
        *version += new.len() as u64;
        *after = position;
    }
    let versions = *version + 1..*version + 1 + rng.u64(1..4);
    let run = rng.u64(..);
    let ids: Vec<String> = versions.clone().map(|version| format!("{writer}-{run:x}-{version}")).collect();
    let event = |(id, version): (&String, u64)| {
        json!({"id": id, "type": "Changed", "tags": [format!("stream:{stream}"), format!("writer:{writer}")],
            "data": {"stream": stream, "version": version}})
    };
    let events: Vec<Value> = ids.iter().zip(versions.clone()).map(event).collect();
    let condition = match after.as_str() {
        "" => json!({"query": {"tags": [format!("stream:{stream}")]}}),
        after => json!({"query": {"tags": [format!("stream:{stream}")]}, "after": after}),
    };
    let body = json!({"events": events, "condition": condition}).to_string();
    let json = [("content-type", "application/json")];
    let answer = client.send("POST", "/events", &json, body.as_bytes()).unwrap();
    let after = after.clone();
    let positions = match answer.status {
        201 => {
            let positions = answer.json()["positions"].as_array().unwrap().clone();
            Some(positions.iter().map(|position| position.as_str().unwrap().to_owned()).collect())
        }
        409 => {
            assert_eq!(answer.json()["reason"], "condition_failed", "{}", answer.text());
            None
        }
        other => panic!("{other}: {}", answer.text()),
    };
    Attempt { stream, versions, ids, after, positions }
}

/// What a reader that follows the log during the writes sees, in small pages.
fn follow(site: &Site, written: &AtomicBool) -> Vec<Seen> {
    let mut client = Client::connect(site.terminator.http).unwrap();
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        // Read before the page: the last page is read after the last write.
        let last = written.load(Ordering::Acquire);
        let (page, position) = read(&mut client, "", &after, 7);
        all.extend(page);
        after = position;
        if last {
            return all;
        }
    }
}

#[test]
fn appends_of_two_processes_are_accepted_or_refused_as_the_model_says() {
    let Some(cluster) = Cluster::start() else { return };
    let sites = [(); 2].map(|()| Site::start(&cluster.store(), 1, "20s"));
    append_through(sites.each_ref());
    sites.into_iter().for_each(Site::end);
}

/// Writers at both sites, and a reader at each that follows the log; then the check.
fn append_through(sites: [&Site; 2]) {
    let seed = from_environment("PAIR_SEED", fastrand::u64(..));
    let left = AtomicU64::new(from_environment("PAIR_APPENDS", APPENDS));
    let written = AtomicBool::new(false);
    let (attempts, followed) = std::thread::scope(|scope| {
        let followers = sites.map(|site| scope.spawn(|| follow(site, &written)));
        let left = &left;
        let writers = (0..WRITERS).map(|writer| {
            scope.spawn(move || {
                let site = sites[usize::from(writer % 2 == 1)];
                let mut client = Client::connect(site.terminator.http).unwrap();
                let mut rng = fastrand::Rng::with_seed(seed ^ writer.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                let (mut known, mut attempts) = (Known::new(), Vec::new());
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                    .is_ok()
                {
                    attempts.push(attempt(&mut client, &mut rng, &mut known, writer));
                }
                attempts
            })
        });
        let writers: Vec<_> = writers.collect();
        let attempts: Vec<Attempt> = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
        written.store(true, Ordering::Release);
        (attempts, followers.map(|follower| follower.join().unwrap()))
    });
    let mut client = Client::connect(sites[0].terminator.http).unwrap();
    let (all, _) = read(&mut client, "", "", 1000);
    check(&all, &attempts);
    for followed in followed {
        assert_eq!(followed, all, "a reader that follows the log misses nothing and sees nothing late");
    }
}

fn check(all: &[Seen], attempts: &[Attempt]) {
    assert!(all.is_sorted_by(|one, next| one.position < next.position), "positions are total");
    let mut streams: BTreeMap<u64, Vec<&Seen>> = BTreeMap::new();
    for seen in all {
        streams.entry(seen.stream).or_default().push(seen);
    }
    for (stream, events) in &streams {
        let versions: Vec<u64> = events.iter().map(|seen| seen.version).collect();
        let expected: Vec<u64> = (1..=events.len() as u64).collect();
        assert_eq!(versions, expected, "stream {stream}: one history, without gaps");
    }
    let (mut accepted, mut refused) = (0, 0);
    let by_id: HashMap<&str, &Seen> = all.iter().map(|seen| (seen.id.as_str(), seen)).collect();
    for Attempt { stream, versions, ids, after, positions } in attempts {
        let newer = |seen: &&&Seen| seen.position > *after;
        match positions {
            Some(positions) => {
                accepted += ids.len();
                for ((id, position), version) in ids.iter().zip(positions).zip(versions.clone()) {
                    let expected =
                        Seen { position: position.clone(), id: id.clone(), stream: *stream, version };
                    assert_eq!(by_id.get(id.as_str()).copied(), Some(&expected));
                }
                let between = streams[stream].iter().filter(newer).find(|seen| seen.position < positions[0]);
                assert!(between.is_none(), "{} was accepted in spite of {between:?}", ids[0]);
            }
            None => {
                refused += 1;
                assert!(ids.iter().all(|id| !by_id.contains_key(id.as_str())), "{ids:?} was refused");
                assert!(streams[stream].iter().any(|seen| newer(&seen)), "{ids:?} met no other event");
            }
        }
    }
    eprintln!("{accepted} events accepted, {refused} appends refused");
    assert_eq!(accepted, all.len(), "there is no event that was not acknowledged");
    assert!(refused > 0, "nothing was contended: the test shows nothing");
}
