//! A full disk: a clear error, no acknowledged write lost, reads go on, and writes again once there
//! is space, without opening the store anew.
//!
//! The disk is a tmpfs of some megabytes, which needs the right to mount one. `STORE_SEED` repeats
//! the random choices.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests fail by panic and print their seed")]

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use store::{Error, Range, RunOptions, Store, StoreError, Subspace};

const DISK_BYTES: u64 = 192 * 1024 * 1024;
/// Concurrent writers, so that groups are large and a disk fills up inside one.
const WRITERS: u64 = 32;
const VALUE_BYTES: usize = 90_000;
const ROUNDS: u64 = 4;
/// Longest time until writes succeed again.
const AGAIN: Duration = Duration::from_secs(30);

struct Disk {
    dir: tempfile::TempDir,
}

impl Disk {
    /// `None` where no file system can be mounted.
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={DISK_BYTES}");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path()).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self { dir }),
            refused => {
                println!("SKIPPED: no tmpfs can be mounted here: {refused:?}");
                None
            }
        }
    }

    fn enlarge(&self, round: u64) {
        let size = format!("remount,size={}", DISK_BYTES + (round + 1) * DISK_BYTES / 2);
        let enlarged = Command::new("mount").args(["-o", &size]).arg(self.dir.path()).status().unwrap();
        assert!(enlarged.success());
    }

    fn store(&self) -> Store {
        Store::open(&format!("embedded:{}", self.dir.path().join("store").display()).parse().unwrap())
            .unwrap()
    }

    /// Takes all free space, in a process of its own that ends when there is no more.
    fn fill(&self) -> (Child, PathBuf) {
        let path = self.dir.path().join("filler");
        let of = format!("of={}", path.display());
        let mut dd = Command::new("dd");
        dd.args(["if=/dev/zero", "bs=4M", &of]).stderr(Stdio::null());
        (dd.spawn().unwrap(), path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(self.dir.path()).status().ok();
    }
}

fn key(number: u64) -> Vec<u8> {
    Subspace::from("row").pack(&(number,))
}

/// Derived from the key, and not compressible.
fn value(number: u64) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(number);
    let mut value = vec![0; VALUE_BYTES];
    rng.fill(&mut value);
    value
}

fn so_far(acknowledged: &RefCell<BTreeSet<u64>>) -> BTreeSet<u64> {
    acknowledged.borrow().clone()
}

async fn set(store: &Store, number: u64) -> Result<(), Error> {
    let value = value(number);
    store.run(&RunOptions::default(), async |tx| tx.set(&key(number), &value)).await
}

/// Every row of `missing` is there with its value, and no row has another one.
async fn check(store: &Store, mut missing: BTreeSet<u64>) {
    let rows = Subspace::from("row");
    let mut page = Range::subspace(&rows).limit(50);
    loop {
        let options = RunOptions::default();
        let found = store.read(&options, async |snapshot| snapshot.range(page.clone()).await).await.unwrap();
        let Some(last) = found.last() else { break };
        page = page.after(&last.key);
        for row in found {
            let (number,) = rows.unpack::<(u64,)>(&row.key).unwrap();
            assert!(row.value == value(number), "row {number} has another value");
            missing.remove(&number);
        }
    }
    assert!(missing.is_empty(), "acknowledged and lost: {missing:?}");
}

async fn clear(store: &Store) {
    let all = Range::subspace(&Subspace::from("row"));
    store.run(&RunOptions::default(), async |tx| tx.clear_range(&all.begin.key, &all.end.key)).await.unwrap();
}

/// Writes until an error comes to every writer; another process takes the rest of the disk after
/// `filled_after` commits. Returns the errors, and the file that took the space.
async fn write_until_full(
    store: &Store,
    next: &Rc<Cell<u64>>,
    acknowledged: &Rc<RefCell<BTreeSet<u64>>>,
    filled_after: usize,
    disk: &Disk,
) -> (Vec<Error>, PathBuf) {
    let begun = acknowledged.borrow().len();
    let (tasks, progress) = (tokio::task::LocalSet::new(), Rc::new(Notify::new()));
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let (store, next, acknowledged) = (store.clone(), Rc::clone(next), Rc::clone(acknowledged));
            let progress = Rc::clone(&progress);
            tasks.spawn_local(async move {
                loop {
                    let number = next.replace(next.get() + 1);
                    if let Err(error) = set(&store, number).await {
                        break error;
                    }
                    acknowledged.borrow_mut().insert(number);
                    progress.notify_one();
                }
            })
        })
        .collect();
    tasks
        .run_until(async {
            while acknowledged.borrow().len() < begun + filled_after {
                progress.notified().await;
            }
            let (mut filler, path) = disk.fill();
            let mut errors = Vec::new();
            for writer in writers {
                errors.push(writer.await.unwrap());
            }
            filler.wait().unwrap();
            (errors, path)
        })
        .await
}

#[tokio::test]
async fn a_full_disk_refuses_writes_clearly_and_takes_them_again_when_there_is_space() {
    let Some(disk) = Disk::mount() else { return };
    let seed = std::env::var("STORE_SEED").ok().map(|seed| seed.parse().expect("STORE_SEED is a number"));
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("STORE_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let store = disk.store();
    let next = Rc::new(Cell::new(0));
    let acknowledged = Rc::new(RefCell::new(BTreeSet::new()));
    let mut failed = 0;
    for round in 0..ROUNDS {
        let filled_after = rng.usize(0..100);
        let (errors, filler) = write_until_full(&store, &next, &acknowledged, filled_after, &disk).await;
        for error in &errors {
            match error {
                Error::Store(StoreError::Unwritable { reason }) => {
                    assert!(!error.is_maybe_committed());
                    assert!(
                        reason.contains("MiB") || reason.contains("space") || reason.contains("failed"),
                        "{reason}"
                    );
                }
                Error::Store(StoreError::WriteFailed { .. }) => {
                    assert!(error.is_maybe_committed());
                    failed += 1;
                }
                error => panic!("{error:?}"),
            }
        }
        println!("round {round}, {} rows: {}", acknowledged.borrow().len(), errors[0]);
        // Reads are answered on a full disk.
        check(&store, so_far(&acknowledged)).await;

        fs::remove_file(filler).unwrap();
        disk.enlarge(round);
        let begun = Instant::now();
        let number = next.replace(next.get() + 1);
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        while let Err(error) = set(&store, number).await {
            assert!(begun.elapsed() < AGAIN, "{error}");
            pace.tick().await;
        }
        acknowledged.borrow_mut().insert(number);
        println!("round {round}: writes again after {:?}", begun.elapsed());
        check(&store, so_far(&acknowledged)).await;
        if rng.bool() {
            clear(&store).await;
            acknowledged.borrow_mut().clear();
        }
    }
    println!("{failed} writes failed inside the engine");
    drop(store);
    check(&disk.store(), so_far(&acknowledged)).await;
}
