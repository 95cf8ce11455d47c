//! Two concurrent processes: a directory belongs to one of them, a cluster to both.
//!
//! The other process is this test binary started again (`child_counts`).

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panic and print what the parent reads"
)]

use std::process::{Child, Command, Stdio};

use store::{Error, RunOptions, Store};

/// The child's variable with the store's address; without it the child counts alone.
const ADDRESS: &str = "STORE_PROCESSES_ADDRESS";
/// The child's variable with the counter's name.
const COUNTER: &str = "STORE_PROCESSES_COUNTER";
const COUNTED: u64 = 200;

/// Adds 1 repeatedly by reading and writing, so that any two concurrent adds conflict.
#[tokio::main(flavor = "current_thread")]
async fn count(store: &Store, counter: &str) -> u64 {
    let options = RunOptions { timeout: std::time::Duration::from_secs(60), ..RunOptions::default() };
    let mut reached = 0;
    for _ in 0..COUNTED {
        let add = store.run(&options, async |tx| {
            let before = tx.get(counter.as_bytes()).await?;
            let before = before.map_or(0, |value| u64::from_le_bytes(value.as_ref().try_into().unwrap()));
            tx.set(counter.as_bytes(), &(before + 1).to_le_bytes())?;
            Ok::<_, Error>(before + 1)
        });
        reached = add.await.unwrap();
    }
    reached
}

fn child(address: &str, counter: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_counts", "--nocapture"])
        .env(ADDRESS, address)
        .env(COUNTER, counter)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn child_counts() {
    let Ok(address) = std::env::var(ADDRESS) else {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("embedded:{}", dir.path().display()).parse().unwrap()).unwrap();
        assert_eq!(count(&store, "alone"), COUNTED);
        return;
    };
    let _network = store::Network::new();
    match Store::open(&address.parse().unwrap()) {
        Ok(store) => println!("counted to {}", count(&store, &std::env::var(COUNTER).unwrap())),
        Err(refused) => println!("refused: {refused}"),
    }
}

#[test]
fn a_second_process_is_refused_a_directory_with_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let address = format!("embedded:{}", dir.path().display());
    let store = Store::open(&address.parse().unwrap()).unwrap();
    let said = child(&address, "counter").wait_with_output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let expected = format!("refused: store {} is open already: one process at a time", dir.path().display());
    assert!(said.contains(&expected), "{said}");

    drop(store);
    let said = child(&address, "counter").wait_with_output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.contains(&format!("counted to {COUNTED}")), "{said}");
}

/// A process between `fork` and `exec` has the files of its parent open, also the lock.
#[test]
fn a_directory_is_free_when_its_store_is_dropped_while_processes_start() {
    let dir = tempfile::tempdir().unwrap();
    let address = format!("embedded:{}", dir.path().display()).parse().unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    // A variable makes the standard library use `fork`.
                    let mut program = Command::new("true");
                    program.env("STORE", "x").current_dir("/").status().unwrap();
                }
            });
        }
        let opened = (0..60).map(|_| Store::open(&address).map(drop)).collect::<Result<Vec<_>, _>>();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        opened.unwrap();
    });
}

#[cfg(feature = "fdb")]
#[test]
fn two_processes_count_together_on_a_cluster() {
    let Ok(file) = std::env::var("FDB_CLUSTER_FILE") else {
        println!("SKIPPED: FDB_CLUSTER_FILE is not set");
        return;
    };
    let address = format!("fdb:{file}");
    let counter = format!("store-processes/{}", fastrand::u64(..));
    let other = child(&address, &counter);
    let _network = store::Network::new();
    let store = Store::open(&address.parse().unwrap()).unwrap();
    let ours = count(&store, &counter);
    let other = other.wait_with_output().unwrap();
    assert!(other.status.success(), "the other process ended with {}", other.status);
    let said = String::from_utf8(other.stdout).unwrap();
    let theirs = said.split("counted to ").nth(1).and_then(|rest| rest.lines().next());
    let theirs: u64 = theirs.unwrap_or_else(|| panic!("{said}")).trim().parse().unwrap();
    cleared(&store, &counter);
    assert_eq!(ours.max(theirs), 2 * COUNTED, "we counted to {ours}, they to {theirs}");
}

#[cfg(feature = "fdb")]
#[tokio::main(flavor = "current_thread")]
async fn cleared(store: &Store, counter: &str) {
    store.run(&RunOptions::default(), async |tx| tx.clear(counter.as_bytes())).await.unwrap();
}
