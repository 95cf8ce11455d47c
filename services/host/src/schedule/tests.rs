//! Scheduled tasks of three instances, in virtual and in real time.
//!
//! Owns what the tests share. In virtual time the store still works in real time, so the clock is
//! only moved by hand, and the tests wait for conditions.

mod processes;
mod real_time;
mod virtual_time;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Instant;

use store::layers::Clock;
use store::layers::slots::{Run, RunError, Slots};
use store::{Range, RunOptions, Snapshot, Store, Subspace};

use super::driver::Schedule;
use super::task::{Task, boxed};
use super::when::When;
use crate::testing::PATIENCE;

/// An embedded store of this test's own.
fn embedded() -> (Store, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let address = format!("embedded:{}?durability=buffered", dir.path().display());
    (Store::open(&address.parse().unwrap()).unwrap(), dir)
}

/// An instance with one task.
fn instance<F>(
    store: &Store,
    keys: &Subspace,
    every: &str,
    clock: &Clock,
    handler: impl Fn(Run) -> F + 'static,
) -> Rc<Schedule>
where
    F: Future<Output = Result<(), Box<dyn std::error::Error>>> + 'static,
{
    let task = Task::new("task", When::every(every).unwrap(), boxed(handler)).unwrap();
    Rc::new(Schedule::start(vec![task], &Slots::new(store, &keys.subspace(&("slots",))), clock))
}

/// Counts a run in the store, unless it lost its lease.
async fn record(store: &Store, keys: &Subspace, run: &Run) -> Result<(), RunError> {
    let key = keys.pack(&("ran", run.slot_ms));
    let add = async |tx: &store::Transaction| {
        run.check_in(tx).await?;
        Ok(tx.add(&key, &1_u64.to_le_bytes())?)
    };
    store.run(&RunOptions::default(), add).await
}

/// How often each slot was recorded.
async fn recorded(store: &Store, keys: &Subspace) -> BTreeMap<u64, u64> {
    let ran = keys.subspace(&("ran",));
    let rows = async |snapshot: Snapshot<'_>| snapshot.range(Range::subspace(&ran)).await;
    let rows = store.read(&RunOptions::default(), rows).await.unwrap();
    let count = |row: &store::KeyValue| u64::from_le_bytes(row.value[..].try_into().unwrap());
    rows.iter().map(|row| (ran.unpack::<(u64,)>(&row.key).unwrap().0, count(row))).collect()
}

/// The end of the lease in the task's row: 8 bytes, little-endian, after the slot and the fence.
/// `None` while the task is not known to the store.
async fn lease_end(store: &Store, keys: &Subspace) -> Option<u64> {
    let row = store.get(&keys.subspace(&("slots",)).pack(&("task",))).await.unwrap()?;
    Some(u64::from_le_bytes(row[16..24].try_into().unwrap()))
}

/// Waits for a condition; in real time, whatever the clock does.
async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        tokio::task::yield_now().await;
    }
}
