//! A mixed load of reads and writes on all services, by clients that remember what was
//! acknowledged.
//!
//! Owns the requests, what each answer must say, and the check of everything acknowledged at the
//! end. A client sends one request after the other, over one connection. Invariant: an id is
//! written once, so an answer that never came leaves one question open and no other.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http::{Client, Response};
use crate::until::until;

const CLIENTS: u64 = 16;

/// Entries of a page that are read to see the newest one; more than writes without an answer are
/// ever between two that have one.
const PAGE: usize = 50;

/// Where an id was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Profile,
    Entry,
    Message,
    Event,
}

const KINDS: [Kind; 4] = [Kind::Profile, Kind::Entry, Kind::Message, Kind::Event];

/// What a client saw.
#[derive(Default)]
pub(crate) struct Seen {
    /// Answers by status.
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// Answers that must not be, and connections that failed.
    pub(crate) faults: Vec<String>,
    /// The longest time of a request.
    pub(crate) slowest: Duration,
    acknowledged: Vec<(u64, Kind, String)>,
}

impl Seen {
    /// The number of acknowledged writes.
    pub(crate) fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    fn add(&mut self, other: Self) {
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.faults.extend(other.faults);
        self.slowest = self.slowest.max(other.slowest);
        self.acknowledged.extend(other.acknowledged);
    }
}

/// Clients at work.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    good: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Seen>>,
}

impl Load {
    /// Starts the clients; `seed` determines what each asks.
    pub(crate) fn start(http: SocketAddr, seed: u64) -> Self {
        let (stop, good) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let clients = (0..CLIENTS).map(|number| {
            let (stop, good) = (Arc::clone(&stop), Arc::clone(&good));
            std::thread::spawn(move || {
                let mut asker = Asker::new(http, seed, number);
                while !stop.load(Ordering::Relaxed) {
                    good.fetch_add(u64::from(asker.ask()), Ordering::Relaxed);
                }
                asker.seen
            })
        });
        let clients = clients.collect();
        Self { stop, good, clients }
    }

    /// Requests that were answered below 500 so far.
    pub(crate) fn good(&self) -> u64 {
        self.good.load(Ordering::Relaxed)
    }

    /// Waits until `more` further requests are answered below 500.
    pub(crate) fn wait_more(&self, more: u64) {
        let goal = self.good() + more;
        until(&format!("{goal} requests are served"), || match self.good() {
            good if good >= goal => Ok(()),
            good => Err(good.to_string()),
        });
    }

    /// Ends the clients.
    pub(crate) fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Seen::default();
        self.clients.into_iter().for_each(|client| all.add(client.join().unwrap()));
        all
    }
}

struct Asker {
    http: SocketAddr,
    client: Client,
    rng: fastrand::Rng,
    number: u64,
    writes: u64,
    newest: BTreeMap<Kind, String>,
    seen: Seen,
}

impl Asker {
    fn new(http: SocketAddr, seed: u64, number: u64) -> Self {
        let rng = fastrand::Rng::with_seed(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let client = Client::connect(http).unwrap();
        Self { http, client, rng, number, writes: 0, newest: BTreeMap::new(), seen: Seen::default() }
    }

    /// One request; true when its status is below 500.
    fn ask(&mut self) -> bool {
        let kind = KINDS[self.rng.usize(..KINDS.len())];
        if self.rng.u8(..3) == 0 { self.write(kind) } else { self.read(kind) }
    }

    fn write(&mut self, kind: Kind) -> bool {
        self.writes += 1;
        let (id, number) = (format!("{}-{}", self.number, self.writes), self.number);
        let (method, path, body) = match kind {
            Kind::Profile => ("PUT", format!("/profiles/{id}"), json!({"id": id})),
            Kind::Entry => ("POST", format!("/feeds/{number}"), json!({"id": id, "text": "t"})),
            Kind::Message => {
                ("POST", format!("/chats/{number}/messages"), json!({"id": id, "author": "1", "text": "t"}))
            }
            Kind::Event => {
                let event = json!({"id": id, "type": "A", "tags": [format!("client:{number}")]});
                ("POST", "/events".to_owned(), json!({"events": [event]}))
            }
        };
        let Some(answer) = self.send(method, &path, &body.to_string()) else { return false };
        match answer.status {
            200 | 201 => {
                self.seen.acknowledged.push((number, kind, id.clone()));
                self.newest.insert(kind, id);
                true
            }
            500.. => false,
            other => self.fault(&format!("{method} {path}: {other}, {}", answer.text())),
        }
    }

    /// Reads what was acknowledged last, which every process must show from then on.
    fn read(&mut self, kind: Kind) -> bool {
        let Some(newest) = self.newest.get(&kind).cloned() else { return self.write(kind) };
        let number = self.number;
        let path = match kind {
            Kind::Profile if self.rng.bool() => format!("/members/{newest}"),
            Kind::Profile => format!("/profiles/{newest}"),
            Kind::Entry => format!("/feeds/{number}?limit={PAGE}"),
            Kind::Message => format!("/chats/{number}/messages?limit={PAGE}"),
            Kind::Event => format!("/events?tags=client:{number}&limit=1000"),
        };
        let Some(answer) = self.send("GET", &path, "") else { return false };
        match answer.status {
            // A client writes more events than a page has.
            200 if kind == Kind::Event && answer.json()["more"] == true => true,
            200 if answer.text().contains(&format!("\"{newest}\"")) => true,
            500.. => false,
            other => self.fault(&format!("GET {path}: {other} without {newest:?}: {}", answer.text())),
        }
    }

    fn send(&mut self, method: &str, path: &str, body: &str) -> Option<Response> {
        let asked = Instant::now();
        let json = [("content-type", "application/json")];
        let answer = self.client.send(method, path, &json, body.as_bytes());
        self.seen.slowest = self.seen.slowest.max(asked.elapsed());
        match answer {
            Ok(answer) => {
                *self.seen.statuses.entry(answer.status).or_default() += 1;
                if answer.header("connection") == Some("close") {
                    self.client = Client::connect(self.http).unwrap();
                }
                Some(answer)
            }
            Err(error) => {
                self.fault(&format!("{method} {path}: {error}"));
                self.client = Client::connect(self.http).unwrap();
                None
            }
        }
    }

    fn fault(&mut self, fault: &str) -> bool {
        self.seen.faults.push(fault.to_owned());
        false
    }
}

/// Reads everything that was acknowledged; returns what is missing.
pub(crate) fn missing(http: SocketAddr, seen: &Seen) -> Vec<String> {
    let mut client = Client::connect(http).unwrap();
    let mut found = HashSet::new();
    for number in 0..CLIENTS {
        for (kind, path, list, more) in [
            (Kind::Entry, format!("/feeds/{number}?limit=200"), "entries", "before"),
            (Kind::Message, format!("/chats/{number}/messages?limit=200"), "messages", "before"),
            (Kind::Event, format!("/events?tags=client:{number}&limit=1000"), "events", "after"),
        ] {
            let ids = ids(&mut client, &path, list, more);
            found.extend(ids.into_iter().map(|id| (number, kind, id)));
        }
    }
    for (number, kind, id) in &seen.acknowledged {
        if *kind == Kind::Profile && page(&mut client, &format!("/profiles/{id}"))["id"] == id.as_str() {
            found.insert((*number, *kind, id.clone()));
        }
    }
    let lost = seen.acknowledged.iter().filter(|written| !found.contains(written));
    lost.map(|written| format!("{written:?}")).collect()
}

/// The ids of all pages.
fn ids(client: &mut Client, path: &str, list: &str, more: &str) -> Vec<String> {
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = page(client, &format!("{path}{cursor}"));
        let all = page[list].as_array().unwrap_or_else(|| panic!("{path}: {page}")).iter();
        ids.extend(all.map(|one| one["id"].as_str().unwrap().to_owned()));
        let next = if more == "before" {
            page["next"].as_str()
        } else {
            page["position"].as_str().filter(|_| page["more"] == true)
        };
        match next {
            Some(next) => cursor = format!("&{more}={next}"),
            None => return ids,
        }
    }
}

/// A page; asked again while a service recovers.
fn page(client: &mut Client, path: &str) -> Value {
    until(path, || {
        let answer = client.send("GET", path, &[], b"").map_err(|error| error.to_string())?;
        if answer.status < 500 { Ok(answer.json()) } else { Err(answer.text()) }
    })
}
