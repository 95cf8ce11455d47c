//! The contract of every backend, as tests that take a store: they run unchanged on the embedded
//! store, on a part of one, and with the feature `fdb` on the cluster of `FDB_CLUSTER_FILE`.
//! Commits with an unknown outcome are tested in `src/store/faults.rs`, two concurrent processes in
//! `tests/processes.rs`.
//!
//! `main` runs the tests, because FoundationDB's client must be stopped before the process exits,
//! and the usual harness returns to no code of ours.
//!
//! Invariant: a test uses only keys inside its own subspace, so tests share a cluster; its keys are
//! cleared afterwards, whether it failed or not.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests fail by panic and print their seed")]

mod isolation;
#[cfg(feature = "fdb")]
mod owner;
mod parts;
mod ranges;
mod serializable;
mod together;
mod watches;
mod writes;

use std::{process::ExitCode, time::Duration};

use libtest_mimic::{Arguments, Failed, Trial};
use store::{Error, RunOptions, Store, Subspace, limits};

/// Where a test may write, and how it lets time pass.
pub(crate) struct Place {
    pub(crate) store: Store,
    pub(crate) keys: Subspace,
    pub(crate) key_bytes_max: usize,
    /// The test's clock, which can be moved except with a cluster.
    clock: Clock,
    /// Removed with its contents at the end.
    _dir: Option<tempfile::TempDir>,
}

enum Clock {
    Virtual,
    #[cfg(feature = "fdb")]
    Real,
}

impl Place {
    fn embedded() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let address = format!("embedded:{}", dir.path().display()).parse().unwrap();
        let store = Store::open(&address).unwrap();
        let key_bytes_max = limits::KEY_BYTES_MAX;
        Self { store, keys: "conformance".into(), key_bytes_max, clock: Clock::Virtual, _dir: Some(dir) }
    }

    /// A part of an embedded store.
    fn part() -> Self {
        let whole = Self::embedded();
        let part: store::Prefix = "part".parse().unwrap();
        let key_bytes_max = whole.key_bytes_max - "part/".len();
        Self { store: whole.store.part(&part), key_bytes_max, ..whole }
    }

    /// A place of this run on the cluster, or `None` without a cluster.
    #[cfg(feature = "fdb")]
    fn on_cluster(test: &str) -> Option<Self> {
        let Ok(file) = std::env::var("FDB_CLUSTER_FILE") else {
            println!("SKIPPED: FDB_CLUSTER_FILE is not set");
            return None;
        };
        let store = Store::open(&format!("fdb:{file}").parse().unwrap()).unwrap();
        let keys = Subspace::from(("store-conformance", fastrand::u64(..), test));
        Some(Self { store, keys, key_bytes_max: limits::KEY_BYTES_MAX, clock: Clock::Real, _dir: None })
    }

    /// Runs `test` in this place, then removes its keys.
    #[cfg(feature = "fdb")]
    async fn cleared_after(self, test: impl AsyncFnOnce(&Self) + 'static) {
        let place = std::rc::Rc::new(self);
        let tested = std::rc::Rc::clone(&place);
        // Runs as a task, because a task returns a panic as a result.
        let tasks = tokio::task::LocalSet::new();
        let task = tasks.spawn_local(async move { test(&tested).await });
        let result = tasks.run_until(task).await;
        let all = store::Range::prefix(place.keys.bytes());
        let clear = async |tx: &store::Transaction| tx.clear_range(&all.begin.key, &all.end.key);
        let cleared = place.store.run(&PATIENT, clear).await;
        if let Err(panicked) = result {
            std::panic::resume_unwind(panicked.into_panic());
        }
        cleared.unwrap();
    }

    pub(crate) fn key(&self, name: &str) -> Vec<u8> {
        self.keys.pack(&(name,))
    }

    /// Lets open transactions become older.
    pub(crate) async fn pass(&self, time: Duration) {
        match self.clock {
            Clock::Virtual => {
                tokio::time::pause();
                tokio::time::advance(time).await;
                tokio::time::resume();
            }
            // A cluster forgets a version by real time only.
            #[cfg(feature = "fdb")]
            Clock::Real => tokio::time::sleep(time).await,
        }
    }

    pub(crate) async fn set(&self, name: &str, value: &[u8]) {
        let key = self.key(name);
        let set = async |tx: &store::Transaction| tx.set(&key, value);
        self.store.run(&PATIENT, set).await.unwrap();
    }

    pub(crate) async fn get(&self, name: &str) -> Option<Vec<u8>> {
        self.store.get(&self.key(name)).await.unwrap().map(|value| value.to_vec())
    }

    pub(crate) async fn set_all(&self, names: impl Iterator<Item = String>) {
        let names: Vec<_> = names.collect();
        let set = async |tx: &store::Transaction| {
            names.iter().try_for_each(|name| tx.set(&self.key(name), name.as_bytes()))
        };
        self.store.run(&PATIENT, set).await.unwrap();
    }
}

/// Longer than any time that a test lets pass.
pub(crate) const PATIENT: RunOptions =
    RunOptions { timeout: Duration::from_secs(60), retries_max: 1000, idempotent: false };

/// The number in a value; 0 when there is none.
pub(crate) fn number(value: Option<impl AsRef<[u8]>>) -> u64 {
    value.map_or(0, |value| u64::from_le_bytes(value.as_ref().try_into().unwrap()))
}

/// The seed of this run: `STORE_SEED`, or a new one, printed either way.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("STORE_SEED").ok().map(|seed| seed.parse().expect("STORE_SEED is a number"));
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("STORE_SEED={seed}");
    seed
}

pub(crate) type Outcome = Result<(), Error>;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let network = store::Network::new();
    let conclusion = libtest_mimic::run(&arguments, tests());
    drop(network);
    conclusion.exit_code()
}

fn run(test: impl Future<Output = ()>) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(test);
    Ok(())
}

macro_rules! conformance {
    ($($module:ident: $($test:ident),+;)+) => {
        fn tests() -> Vec<Trial> {
            let embedded = [$($(
                Trial::test(concat!("embedded::", stringify!($test)), || {
                    run(async { $module::$test(&Place::embedded()).await })
                }),
            )+)+];
            let part = [$($(
                Trial::test(concat!("part::", stringify!($test)), || {
                    run(async { $module::$test(&Place::part()).await })
                }),
            )+)+].into_iter().chain([Trial::test("part::keys_outside_a_part_are_neither_seen_nor_changed", || {
                run(parts::keys_outside_a_part_are_neither_seen_nor_changed())
            })]);
            #[cfg(feature = "fdb")]
            let fdb = [$($(
                Trial::test(concat!("fdb::", stringify!($test)), || run(async {
                    let Some(place) = Place::on_cluster(stringify!($test)) else { return };
                    place.cleared_after(async |place| $module::$test(place).await).await;
                })),
            )+)+].into_iter().chain([Trial::test("fdb::keys_belong_to_one_layout", || {
                owner::keys_belong_to_one_layout();
                Ok(())
            })]);
            #[cfg(not(feature = "fdb"))]
            let fdb = [];
            embedded.into_iter().chain(part).chain(fdb).collect()
        }
    };
}

conformance! {
    isolation: an_update_is_not_lost, write_skew_is_refused, a_phantom_is_refused, a_cleared_range_conflicts,
        a_blind_write_does_not_conflict, snapshot_reads_do_not_conflict, a_read_only_transaction_does_not_conflict,
        reads_see_one_moment, a_failed_closure_writes_nothing, retries_end, time_ends,
        an_application_error_after_a_conflict_is_retried, a_transaction_gets_too_old,
        a_transaction_that_is_too_old_cannot_commit, an_acknowledged_write_is_seen_by_all_that_start_later;
    ranges: a_range_comes_in_order_across_batches, a_range_goes_backwards, a_limit_ends_a_range, pages_continue,
        selectors_step_over_keys, own_writes_show_in_ranges, a_limited_range_conflicts_only_where_it_read,
        an_empty_or_inverted_range_is_empty,
        reversed_ranges_stay_right_while_rows_change, a_promise_of_late_rows_changes_no_result;
    writes: a_transaction_reads_its_own_writes, add_adds_without_conflicts, add_follows_foundationdb,
        stamps_order_keys_as_the_commits, a_stamped_value_is_the_commit_stamp, a_stamp_is_unreadable_before_its_commit,
        only_a_committed_write_has_a_stamp, a_key_has_a_limit, a_value_has_a_limit, a_transaction_has_a_limit,
        a_stamp_must_fit, large_values_come_back;
    watches: a_watch_fires_on_a_change, a_watch_sees_a_change_before_it_was_entered,
        a_watch_does_not_fire_for_the_same_value, a_watch_of_a_cleared_range_fires,
        a_watch_of_a_failed_transaction_ends, watches_are_bounded;
    together: keys_read_at_once_have_the_values_of_one_moment, each_of_the_keys_read_at_once_conflicts,
        ranges_read_at_once_are_whole, one_key_read_several_times_at_once_has_one_value;
    serializable: random_transactions_replay_in_commit_order, counters_add_up_over_threads,
        keys_that_are_read_again_and_again_are_those_of_one_commit;
}
