//! `kill -9` during writes, repeatedly: every acknowledged transaction is in the store, and none is
//! there in part.
//!
//! The writer is this test binary started again (`child_writes_until_it_is_killed`), so that it
//! dies like a process. The parent kills it after a random number of acknowledgements (`STORE_SEED`
//! repeats the numbers) and reads the store.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests fail by panic and print their seed")]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use store::{Error, Range, RunOptions, Store, Subspace};

const KILLS: u64 = 24;
/// Concurrent writers, so that groups have several commits.
const WRITERS: u64 = 4;
/// Rows of one transaction.
const ROWS: u64 = 5;
/// The child's variable with the store's address; without it the child writes a little and ends.
const ADDRESS: &str = "STORE_KILL9_ADDRESS";
/// Transactions of each writer when the child is not killed.
const TRANSACTIONS: u64 = 25;

fn row(writer: u64, number: u64, index: u64) -> Vec<u8> {
    Subspace::from("row").pack(&(writer, number, index))
}

/// Several kilobytes, so that a transaction fills the engine's buffer more than once; derived from
/// the key alone.
fn value(writer: u64, number: u64, index: u64) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed((writer << 48) ^ (number << 8) ^ index);
    let len = rng.usize(8..6_000);
    std::iter::repeat_with(|| rng.u8(..)).take(len).collect()
}

fn open(address: &str) -> Store {
    Store::open(&address.parse().unwrap()).unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

async fn write(store: &Store, writer: u64, transactions: u64) -> Result<(), Error> {
    let last = Subspace::from("last").pack(&(writer,));
    for _ in 0..transactions {
        let options = RunOptions::default();
        let commit = store.run(&options, async |tx| {
            let before = tx.get(&last).await?;
            let number = before.map_or(0, |last| u64::from_le_bytes(last.as_ref().try_into().unwrap())) + 1;
            tx.set(&last, &number.to_le_bytes())?;
            for index in 0..ROWS {
                tx.set(&row(writer, number, index), &value(writer, number, index))?;
            }
            tx.add(&Subspace::from("total").pack(&()), &1u64.to_le_bytes())?;
            Ok::<_, Error>(number)
        });
        let number = commit.await?;
        println!("ack {writer} {number}");
    }
    Ok(())
}

#[test]
fn child_writes_until_it_is_killed() {
    // Only without a parent: a killed child leaves its directory behind.
    let dir = std::env::var(ADDRESS).is_err().then(|| tempfile::tempdir().unwrap());
    let (address, transactions) = match &dir {
        None => (std::env::var(ADDRESS).unwrap(), u64::MAX),
        Some(dir) => (format!("embedded:{}", dir.path().display()), TRANSACTIONS),
    };
    let store = open(&address);
    let tasks = tokio::task::LocalSet::new();
    let writers = (0..WRITERS).map(|writer| {
        let store = store.clone();
        tasks.spawn_local(async move { write(&store, writer, transactions).await })
    });
    let writers: Vec<_> = writers.collect();
    runtime().block_on(tasks.run_until(async {
        for writer in writers {
            writer.await.unwrap().unwrap();
        }
    }));
    drop(store);
    check(&address, &BTreeMap::new());
}

/// Starts a writer, kills it after `acks` acknowledgements, and returns the last one that each
/// writer printed.
fn killed_after(address: &str, acks: u64) -> BTreeMap<u64, u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_writes_until_it_is_killed", "--nocapture"])
        .env(ADDRESS, address)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut last = BTreeMap::new();
    let mut read_ack = || {
        // A line that the kill cut off does not count.
        for line in lines.by_ref().map_while(Result::ok) {
            let mut words = line.split(' ').skip_while(|word| *word != "ack").skip(1).map(str::parse::<u64>);
            if let (Some(Ok(writer)), Some(Ok(number))) = (words.next(), words.next()) {
                return Some((writer, number));
            }
        }
        None
    };
    for _ in 0..acks {
        let (writer, number) = read_ack().expect("the child writes until it is killed");
        last.insert(writer, number);
    }
    child.kill().unwrap();
    while let Some((writer, number)) = read_ack() {
        last.insert(writer, number);
    }
    child.wait().unwrap();
    last
}

/// Checks that the store contains whole transactions, without a gap, and every acknowledged one;
/// returns the number of each writer's last one.
fn check(address: &str, acknowledged: &BTreeMap<u64, u64>) -> BTreeMap<u64, u64> {
    let store = open(address);
    let found = runtime().block_on(whole_transactions(&store)).unwrap();
    for (writer, number) in acknowledged {
        assert!(
            found.get(writer) >= Some(number),
            "writer {writer}: {number} was acknowledged, found {found:?}"
        );
    }
    found
}

async fn whole_transactions(store: &Store) -> Result<BTreeMap<u64, u64>, Error> {
    let options = RunOptions::default();
    let rows = Subspace::from("row");
    let mut found = BTreeMap::<u64, (u64, u64)>::new();
    // Read in pages, because reading everything may take longer than a transaction may live.
    let mut page = Range::subspace(&rows).limit(500);
    loop {
        let stored = store.read(&options, async |snapshot| snapshot.range(page.clone()).await).await?;
        let Some(last) = stored.last() else { break };
        page = page.after(&last.key);
        for stored in &stored {
            let (writer, number, index) = rows.unpack::<(u64, u64, u64)>(&stored.key).unwrap();
            let (last, next) = found.get(&writer).copied().unwrap_or((0, ROWS));
            let expected = if next == ROWS { (last + 1, 0) } else { (last, next) };
            assert_eq!((number, index), expected, "half a transaction, or one is missing");
            assert!(stored.value == value(writer, number, index), "{:?} has another value", stored.key);
            found.insert(writer, (number, index + 1));
        }
    }
    let mut total = 0;
    for (writer, (last, next)) in &found {
        assert_eq!(*next, ROWS, "half a transaction of writer {writer}");
        let stored = store.get(&Subspace::from("last").pack(&(*writer,))).await?;
        assert_eq!(stored.as_deref(), Some(&last.to_le_bytes()[..]));
        total += last;
    }
    let stored = store.get(&Subspace::from("total").pack(&())).await?;
    assert_eq!(stored.as_deref().unwrap_or(&[0; 8]), total.to_le_bytes());
    Ok(found.into_iter().map(|(writer, (last, _))| (writer, last)).collect())
}

fn kill_again_and_again(dir: &Path, options: &str) {
    let seed = std::env::var("STORE_SEED").ok().map(|seed| seed.parse().expect("STORE_SEED is a number"));
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("STORE_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let address = format!("embedded:{}{options}", dir.display());
    let mut found = BTreeMap::new();
    for kill in 0..KILLS {
        // The first kills hit the creation of the directory.
        let acks = if kill < 3 { kill } else { rng.u64(0..150) };
        let acknowledged = killed_after(&address, acks);
        let now = check(&address, &acknowledged);
        assert!(found.iter().all(|(writer, last)| now.get(writer) >= Some(last)), "{found:?} became {now:?}");
        found = now;
    }
    let written: u64 = found.values().sum();
    println!("{written} transactions of {ROWS} rows survived {KILLS} kills");
    assert!(written > KILLS, "the writers were killed before they wrote");
}

#[test]
fn acknowledged_writes_survive_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    kill_again_and_again(&dir.path().join("store"), "");
}

#[test]
fn acknowledged_writes_survive_kill_9_when_only_the_kernel_has_them() {
    let dir = tempfile::tempdir().unwrap();
    kill_again_and_again(&dir.path().join("store"), "?durability=buffered");
}
