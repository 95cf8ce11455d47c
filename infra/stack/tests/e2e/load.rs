//! A load client that accounts for every request: each has a status or an error, and a time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use crate::http::Client;
use crate::until::until;

/// What the clients saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// Connections that failed with a request in flight.
    pub(crate) errors: u64,
    /// One body per status that is not 200, for failure messages.
    pub(crate) samples: BTreeMap<u16, String>,
}

/// Running clients.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Tally>>,
}

impl Load {
    /// Starts `clients` connections to `http`. Each requests `path(n)` with an `n` that no other
    /// request has, one after the other, until stopped or until `requests` were sent in all.
    pub(crate) fn start(
        http: SocketAddr,
        clients: usize,
        requests: u64,
        path: impl Fn(u64) -> String + Clone + Send + 'static,
    ) -> Self {
        let (stop, done, next) =
            (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let clients = (0..clients)
            .map(|_| {
                let (stop, done, next, path) =
                    (Arc::clone(&stop), Arc::clone(&done), Arc::clone(&next), path.clone());
                std::thread::spawn(move || {
                    let numbers = std::iter::from_fn(|| {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        (number < requests && !stop.load(Ordering::Relaxed)).then_some(number)
                    });
                    ask(http, numbers.map(path), &done)
                })
            })
            .collect();
        Self { stop, done, clients }
    }

    /// Waits until `more` further requests have been answered.
    pub(crate) fn wait_more(&self, more: u64) {
        self.wait_all(self.done.load(Ordering::Relaxed) + more);
    }

    /// Waits until `count` requests have been answered, counted from the start.
    pub(crate) fn wait_all(&self, count: u64) {
        until(&format!("{count} requests are answered"), || match self.done.load(Ordering::Relaxed) {
            done if done >= count => Ok(()),
            done => Err(done.to_string()),
        });
    }

    /// Stops after the requests in flight.
    pub(crate) fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        self.finish()
    }

    /// Waits until all requests were sent and answered.
    pub(crate) fn finish(self) -> Tally {
        let tallies = self.clients.into_iter().map(|client| client.join().expect("a client never panics"));
        tallies.fold(Tally::default(), Tally::plus)
    }
}

impl Tally {
    pub(crate) fn total(&self) -> u64 {
        self.statuses.values().sum()
    }

    pub(crate) fn of(&self, status: u16) -> u64 {
        self.statuses.get(&status).copied().unwrap_or(0)
    }

    fn plus(mut self, other: Self) -> Self {
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.samples.extend(other.samples);
        self.errors += other.errors;
        self
    }
}

fn ask(http: SocketAddr, paths: impl Iterator<Item = String>, done: &AtomicU64) -> Tally {
    let (mut tally, mut client) = (Tally::default(), None);
    for path in paths {
        let sent = match client.take() {
            Some(client) => Ok(client),
            None => Client::connect(http),
        }
        .and_then(|mut kept| {
            let response = kept.send("GET", &path, &[], b"")?;
            if response.header("connection") != Some("close") {
                client = Some(kept);
            }
            Ok(response)
        });
        match sent {
            Ok(response) => {
                *tally.statuses.entry(response.status).or_default() += 1;
                if response.status != 200 {
                    tally.samples.entry(response.status).or_insert_with(|| response.text());
                }
            }
            Err(_) => tally.errors += 1,
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
    tally
}
