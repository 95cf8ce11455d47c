//! The queue against a naive model, with commits that conflict or whose answers are lost; and its
//! edges.
//!
//! Owns the tests of one process; `tests/layers_queue.rs` kills consumers. Invariant: every test
//! prints its seed, and `STORE_SEED` repeats it.

mod edges;
mod model;
mod shot;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{Queue, QueueOptions};
use crate::{
    Store, Subspace,
    layers::{Backoff, Clock},
};

/// A store of this test's own, and a clock that it moves.
struct Place {
    store: Store,
    now_ms: Arc<AtomicU64>,
    _dir: tempfile::TempDir,
}

const LEASE_MS: u64 = 1_000;
const ATTEMPTS_MAX: u32 = 3;
const BACKOFF_MS: u64 = 100;

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let address = format!("embedded:{}?durability=buffered", dir.path().display());
        let store = Store::open(&address.parse().unwrap()).unwrap();
        Self { store, now_ms: Arc::new(AtomicU64::new(1_000_000)), _dir: dir }
    }

    fn now(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    fn pass(&self, ms: u64) {
        self.now_ms.fetch_add(ms, Ordering::Relaxed);
    }

    fn queue(&self, seed: u64) -> Queue {
        self.queue_of(&self.store, seed)
    }

    fn queue_of(&self, store: &Store, seed: u64) -> Queue {
        let now_ms = Arc::clone(&self.now_ms);
        let options = QueueOptions {
            lease: Duration::from_millis(LEASE_MS),
            attempts_max: ATTEMPTS_MAX,
            backoff: Backoff {
                first: Duration::from_millis(BACKOFF_MS),
                longest: Duration::from_millis(4 * BACKOFF_MS),
            },
            clock: Clock::of(move || now_ms.load(Ordering::Relaxed)),
            ..QueueOptions::default()
        };
        Queue::seeded(store, &Subspace::from("queue"), options, fastrand::Rng::with_seed(seed))
    }
}

/// The seed of this run: `STORE_SEED`, or a new one, printed either way.
fn seed() -> u64 {
    let given = std::env::var("STORE_SEED").ok().map(|seed| seed.parse().expect("STORE_SEED is a number"));
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("STORE_SEED={seed}");
    seed
}
