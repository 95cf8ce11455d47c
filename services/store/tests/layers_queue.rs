//! Consumers that die: every item is done at least once, acknowledged exactly once, and none is
//! lost.
//!
//! Tasks in one process share the embedded store, and one of them is aborted; then the process is
//! killed and started again. Two processes share a cluster, and one of them is killed. The other
//! processes are this test binary started again (`child_works_until_the_queue_is_empty`).
//!
//! A consumer marks an item as done in a transaction of its own, and as acknowledged in that of the
//! `ack`, so the store itself tells what was done.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panic and print what the parent reads"
)]

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    rc::Rc,
    time::Duration,
};

use store::{
    Network, Range, RunOptions, Store, Subspace, Transaction,
    layers::queue::{Item, Lease, Queue, QueueError, QueueOptions},
};

const ITEMS: u64 = 10_000;
/// Consumers of a process that works alone.
const CONSUMERS: usize = 8;
/// Items in one pop.
const BATCH: usize = 20;
/// Longer than a batch takes on a busy machine, short enough to wait for.
const LEASE: Duration = Duration::from_secs(5);

/// The child's variables; without them it does nothing.
const ADDRESS: &str = "STORE_QUEUE_ADDRESS";
const PLACE: &str = "STORE_QUEUE_PLACE";
const TASKS: &str = "STORE_QUEUE_TASKS";

/// Longer than a run that ends takes.
const PATIENCE: Duration = Duration::from_secs(300);

fn keys(place: &str) -> Subspace {
    Subspace::from(("store-queue", place))
}

fn queue(store: &Store, place: &str) -> Queue {
    let run = RunOptions { timeout: Duration::from_secs(60), ..RunOptions::default() };
    // No item may become a dead letter, however often the consumers die.
    let options = QueueOptions { lease: LEASE, attempts_max: u32::MAX, run, ..QueueOptions::default() };
    Queue::new(store, &keys(place).subspace(&("queue",)), options)
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tasks = tokio::task::LocalSet::new();
    let bounded = async { tokio::time::timeout(PATIENCE, test).await.expect("the consumers do not finish") };
    runtime.block_on(tasks.run_until(bounded))
}

fn number(lease: &Lease) -> u64 {
    u64::from_le_bytes(lease.body()[..].try_into().unwrap())
}

async fn push_all(store: &Store, place: &str) {
    let queue = queue(store, place);
    let numbers: Vec<Item> = (0..ITEMS).map(|number| Item::new(number.to_le_bytes().to_vec())).collect();
    for items in numbers.chunks(250) {
        assert_eq!(queue.push(items).await.unwrap().len(), items.len());
    }
}

/// Works until the queue is empty.
async fn consume(store: Store, place: String) {
    let queue = queue(&store, &place);
    let (done, acked) = (keys(&place).subspace(&("done",)), keys(&place).subspace(&("acked",)));
    loop {
        let lengths = queue.lengths().await.unwrap();
        if lengths.ready + lengths.later == 0 {
            return;
        }
        // The watch does not fire when others acknowledge the last items.
        let Ok(leases) = tokio::time::timeout(Duration::from_millis(500), queue.wait(BATCH)).await else {
            continue;
        };
        for leases in leases.unwrap().chunks(BATCH / 2) {
            let work = async |tx: &Transaction| {
                leases
                    .iter()
                    .try_for_each(|lease| tx.add(&done.pack(&(number(lease),)), &1_u64.to_le_bytes()))
            };
            store.run(&RunOptions::default(), work).await.unwrap();
            // Together, or one by one when a lease is lost.
            if acknowledged(&store, &queue, &acked, leases).await {
                continue;
            }
            for lease in leases {
                if !acknowledged(&store, &queue, &acked, std::slice::from_ref(lease)).await {
                    println!("lost {}", number(lease));
                }
            }
        }
    }
}

/// Acknowledges and marks `leases` in one transaction; false when one of them is lost.
async fn acknowledged(store: &Store, queue: &Queue, acked: &Subspace, leases: &[Lease]) -> bool {
    let ack = async |tx: &Transaction| {
        for lease in leases {
            queue.ack_in(tx, lease).await?;
            tx.add(&acked.pack(&(number(lease),)), &1_u64.to_le_bytes())?;
        }
        Ok(())
    };
    match store.run(&RunOptions::default(), ack).await {
        Ok(()) => leases.iter().for_each(|lease| println!("ack {}", number(lease))),
        Err(QueueError::LeaseLost { .. }) => return false,
        Err(error) => panic!("{error}"),
    }
    true
}

/// The counts of every item's marks.
async fn marks(store: &Store, place: &str, mark: &str) -> Vec<(u64, u64)> {
    let marks = keys(place).subspace(&(mark,));
    let mut page = Range::subspace(&marks).limit(1_000);
    let (mut all, options) = (Vec::new(), RunOptions::default());
    loop {
        let read = store.read(&options, async |snapshot| snapshot.range(page.clone()).await);
        let rows = read.await.unwrap();
        let Some(last) = rows.last() else { return all };
        page = page.after(&last.key);
        let count = |row: &store::KeyValue| u64::from_le_bytes(row.value[..].try_into().unwrap());
        all.extend(rows.iter().map(|row| (marks.unpack::<(u64,)>(&row.key).unwrap().0, count(row))));
    }
}

async fn check(store: &Store, place: &str, printed: &[u64]) {
    let (done, acked) = (marks(store, place, "done").await, marks(store, place, "acked").await);
    let again = done.iter().filter(|(_, count)| *count > 1).count();
    println!("{} items done, {again} of them more than once, {} acknowledged", done.len(), acked.len());
    assert!(done.iter().map(|(number, _)| *number).eq(0..ITEMS), "an item was not done");
    assert!(acked.iter().copied().eq((0..ITEMS).map(|number| (number, 1))), "not acknowledged exactly once");
    let mut printed = printed.to_vec();
    printed.sort_unstable();
    assert!(printed.windows(2).all(|pair| pair[0] != pair[1]), "an item was acknowledged twice");
    let lengths = queue(store, place).lengths().await.unwrap();
    assert_eq!((lengths.ready, lengths.later, lengths.dead), (0, 0, 0));
}

struct Worker {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Worker {
    fn start(address: &str, place: &str, tasks: usize) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_works_until_the_queue_is_empty", "--nocapture"])
            .envs([(ADDRESS, address), (PLACE, place), (TASKS, &tasks.to_string())])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next item that the child acknowledged; `None` when it has ended.
    fn next(&mut self) -> Option<u64> {
        // A line that a kill cut off does not count.
        let lines = self.lines.by_ref().map_while(Result::ok);
        lines.into_iter().find_map(|line| line.split("ack ").nth(1)?.parse().ok())
    }

    /// Kills the child after so many acknowledgements, and returns all of them.
    fn killed_after(mut self, acks: usize) -> Vec<u64> {
        let mut acked: Vec<u64> = (0..acks).map_while(|_| self.next()).collect();
        assert_eq!(acked.len(), acks, "the child ended before it was killed");
        self.child.kill().unwrap();
        // Numbers that are cut off would look like others.
        let rest: Vec<u64> = std::iter::from_fn(|| self.next()).collect();
        acked.extend(rest.split_last().map(|(_, whole)| whole).unwrap_or_default());
        self.child.wait().unwrap();
        acked
    }

    fn finished(mut self) -> Vec<u64> {
        let acked = std::iter::from_fn(|| self.next()).collect();
        assert!(self.child.wait().unwrap().success());
        acked
    }
}

#[test]
fn child_works_until_the_queue_is_empty() {
    let (Ok(address), Ok(place)) = (std::env::var(ADDRESS), std::env::var(PLACE)) else { return };
    let tasks: usize = std::env::var(TASKS).unwrap().parse().unwrap();
    let _network = Network::new();
    let store = Store::open(&address.parse().unwrap()).unwrap();
    run(async {
        let consumers = (0..tasks).map(|_| tokio::task::spawn_local(consume(store.clone(), place.clone())));
        for consumer in consumers.collect::<Vec<_>>() {
            consumer.await.unwrap();
        }
    });
}

#[test]
fn items_of_an_aborted_consumer_are_done_by_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let address = format!("embedded:{}?durability=buffered", dir.path().display());
    let store = Store::open(&address.parse().unwrap()).unwrap();
    run(async {
        push_all(&store, "a").await;
        let consume = || tokio::task::spawn_local(consume(store.clone(), "a".to_owned()));
        let mut consumers: Vec<_> = (0..CONSUMERS).map(|_| consume()).collect();
        let half = Rc::new(queue(&store, "a"));
        while half.lengths().await.unwrap().ready > ITEMS / 2 {
            tokio::task::yield_now().await;
        }
        consumers.remove(0).abort();
        for consumer in consumers {
            consumer.await.unwrap();
        }
        check(&store, "a", &[]).await;
    });
}

#[test]
fn items_of_a_killed_process_are_done_after_its_restart() {
    let dir = tempfile::tempdir().unwrap();
    let address = format!("embedded:{}?durability=buffered", dir.path().display());
    let open = || Store::open(&address.parse().unwrap()).unwrap();
    {
        let store = open();
        run(push_all(&store, "a"));
    }
    let mut acked = Worker::start(&address, "a", CONSUMERS).killed_after(3_000);
    acked.extend(Worker::start(&address, "a", CONSUMERS).killed_after(2_000));
    acked.extend(Worker::start(&address, "a", CONSUMERS).finished());
    run(async { check(&open(), "a", &acked).await });
}

#[cfg(feature = "fdb")]
#[test]
fn items_of_a_killed_process_are_done_by_another_on_a_cluster() {
    let Ok(file) = std::env::var("FDB_CLUSTER_FILE") else {
        println!("SKIPPED: FDB_CLUSTER_FILE is not set");
        return;
    };
    let address = format!("fdb:{file}");
    let _network = Network::new();
    let store = Store::open(&address.parse().unwrap()).unwrap();
    let place = fastrand::u64(..).to_string();
    run(push_all(&store, &place));
    let (killed, other) =
        (Worker::start(&address, &place, CONSUMERS / 2), Worker::start(&address, &place, CONSUMERS / 2));
    let other = std::thread::spawn(|| other.finished());
    let mut acked = killed.killed_after(1_000);
    acked.extend(other.join().unwrap());
    run(async {
        check(&store, &place, &acked).await;
        let all = Range::subspace(&keys(&place));
        let clear = async |tx: &Transaction| tx.clear_range(&all.begin.key, &all.end.key);
        store.run(&RunOptions::default(), clear).await.unwrap();
    });
}

/// Without the feature there is no second process: a directory belongs to one.
#[cfg(not(feature = "fdb"))]
#[test]
fn items_of_a_killed_process_are_done_by_another_on_a_cluster() {
    println!("SKIPPED: two processes need a cluster: build with --features fdb and set FDB_CLUSTER_FILE");
}
