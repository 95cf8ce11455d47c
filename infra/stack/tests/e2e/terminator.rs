//! A terminator under test: started on ports that the system chooses, queried through its admin
//! listener.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::Value;
use tempfile::TempDir;

use crate::http;
use crate::process::Process;
use crate::until::until;

/// A running terminator with a TCP and a Unix bus listener.
pub(crate) struct Terminator {
    pub(crate) process: Process,
    pub(crate) http: SocketAddr,
    pub(crate) admin: SocketAddr,
    tcp: String,
    ipc: String,
    _dir: TempDir,
}

impl Terminator {
    /// Starts a terminator with `flags` beside the addresses, and waits until it has printed its
    /// addresses.
    pub(crate) fn start(flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ipc = format!("ipc://{}/bus", dir.path().display());
        let listen = ["--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--bus-listen", "tcp://127.0.0.1:0"];
        let bus = ["--bus-listen", &ipc, "--settle", "0s"];
        let mut process = Process::role("terminator", &[&listen[..], &bus, flags].concat());
        let [http, admin, bus] = process.wait_line("where it listens", listening);
        let tcp = bus
            .split(',')
            .find(|url| url.starts_with("tcp://"))
            .expect("a TCP listener was asked for")
            .to_owned();
        Self { process, http: address(&http), admin: address(&admin), tcp, ipc, _dir: dir }
    }

    /// The bus's address, by scheme: `tcp` or `ipc`.
    pub(crate) fn bus(&self, scheme: &str) -> &str {
        if scheme == "ipc" { &self.ipc } else { &self.tcp }
    }

    pub(crate) fn get(&self, path: &str) -> http::Response {
        http::get(self.http, path)
    }

    /// An answer of the admin listener.
    pub(crate) fn admin(&self, path: &str) -> Value {
        http::get(self.admin, path).json()
    }

    /// One counter of the bus in `/stats`.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        let stats = self.admin("/stats");
        stats[name].as_u64().unwrap_or_else(|| panic!("/stats has no counter {name}: {stats:#}"))
    }

    /// All counters without a label whose name starts with `prefix`.
    pub(crate) fn counters(&self, prefix: &str) -> Vec<(String, u64)> {
        let stats = self.admin("/stats");
        let counters = stats.as_object().expect("an object").iter();
        let counters = counters.filter(|(name, _)| name.starts_with(prefix));
        counters.filter_map(|(name, count)| Some((name.clone(), count.as_u64()?))).collect()
    }

    /// Responses by status.
    pub(crate) fn statuses(&self) -> BTreeMap<u16, u64> {
        let named = self.named("statuses").into_iter();
        named.map(|(status, count)| (status.parse().expect("a status"), count)).collect()
    }

    /// Rejected requests, by reason.
    pub(crate) fn rejected(&self) -> BTreeMap<String, u64> {
        self.named("rejected").into_iter().filter(|(_, count)| *count > 0).collect()
    }

    fn named(&self, of: &str) -> Vec<(String, u64)> {
        let stats = self.admin("/stats");
        let counts = stats[of].as_object().unwrap_or_else(|| panic!("/stats has no {of}: {stats:#}"));
        counts.iter().map(|(name, count)| (name.clone(), count.as_u64().expect("a count"))).collect()
    }

    /// Waits until a counter has reached `least`, and returns its value.
    pub(crate) fn wait_counter(&self, name: &str, least: u64) -> u64 {
        until(&format!("{name} reaches {least}"), || match self.counter(name) {
            value if value >= least => Ok(value),
            value => Err(value.to_string()),
        })
    }

    /// Connections to peers of the service, or of any service when it is empty.
    pub(crate) fn peers(&self, service: &str) -> Vec<Value> {
        let peers = self.admin("/peers");
        let list = peers.as_array().unwrap_or_else(|| panic!("/peers is no list: {peers:#}"));
        list.iter().filter(|peer| service.is_empty() || peer["service"] == service).cloned().collect()
    }

    /// Waits until `workers` workers can send to the one instance of the service.
    pub(crate) fn wait_known(&self, service: &str, workers: usize) {
        until(&format!("{workers} workers know {service}"), || match &self.peers(service)[..] {
            [peer] if peer["workers"] == workers => Ok(()),
            peers => Err(format!("{peers:?}")),
        });
    }

    /// Waits until exactly `count` peers of the service are connected.
    pub(crate) fn wait_peers(&self, service: &str, count: usize) -> Vec<Value> {
        until(&format!("{count} peers of {service:?} in /peers"), || match self.peers(service) {
            peers if peers.len() == count => Ok(peers),
            peers => Err(format!("{peers:?}")),
        })
    }
}

/// The `http=`, `admin=` and `bus=` of the start-up line.
fn listening(line: &str) -> Option<[String; 3]> {
    let (_, rest) = line.split_once("listening")?;
    let value = |key: &str| {
        let found = rest.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))?;
        Some(found.trim_matches('"').to_owned())
    };
    Some([value("http")?, value("admin")?, value("bus").or_else(|| value("bus-listen"))?])
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap_or_else(|error| panic!("{text:?} in the start-up line: {error}"))
}
