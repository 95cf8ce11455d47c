//! Many threads at once, checked by replay: in the order of their versionstamps each transaction
//! must have seen exactly what it reported, and that order must be consistent with real time.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use store::{Error, KeyValue, Range, Store, Subspace, Transaction};

use super::{PATIENT, Place, number, seed};

const THREADS: u64 = 4;
const TASKS: u64 = 8;
const TRANSACTIONS: u64 = 60;
const KEYS: u64 = 12;

/// An operation of a transaction, with its result.
#[derive(Debug)]
enum Step {
    Get(u64, Option<Vec<u8>>),
    Range { begin: u64, end: u64, reverse: bool, limit: usize, seen: Vec<(Vec<u8>, Vec<u8>)> },
    Set(u64, Vec<u8>),
    Clear(u64),
    ClearRange(u64, u64),
    Add(u64, u64),
}

/// A committed transaction.
#[derive(Debug)]
struct Done {
    /// Begins with the version: of the commit, or the read version of a transaction without writes,
    /// which comes after all commits of that version.
    order: (u64, u16, bool),
    /// Newest version that any thread had acknowledged when the transaction began.
    began: u64,
    steps: Vec<Step>,
}

fn key(keys: &Subspace, index: u64) -> Vec<u8> {
    keys.pack(&("row", index))
}

fn pairs(rows: Vec<KeyValue>) -> Vec<(Vec<u8>, Vec<u8>)> {
    rows.into_iter().map(|row| (row.key.to_vec(), row.value.to_vec())).collect()
}

async fn step(tx: &Transaction, keys: &Subspace, rng: &RefCell<fastrand::Rng>) -> Result<Step, Error> {
    let roll = |max: u64| rng.borrow_mut().u64(..max);
    let (kind, a, b, value) = (roll(10), roll(KEYS), roll(KEYS), roll(1 << 20));
    let (begin, end) = (a.min(b), a.max(b));
    Ok(match kind {
        0..3 => Step::Get(a, tx.get(&key(keys, a)).await?.map(|value| value.to_vec())),
        3 | 4 => {
            let (reverse, limit) = (value % 2 == 0, usize::try_from(value % 7).unwrap_or(0) + 1);
            let range = Range::between(key(keys, begin), key(keys, end)).limit(limit);
            let range = if reverse { range.reversed() } else { range };
            Step::Range { begin, end, reverse, limit, seen: pairs(tx.range(range).await?) }
        }
        5 | 6 => {
            tx.set(&key(keys, a), &value.to_le_bytes())?;
            Step::Set(a, value.to_le_bytes().to_vec())
        }
        7 => {
            tx.clear(&key(keys, a))?;
            Step::Clear(a)
        }
        8 => {
            tx.clear_range(&key(keys, begin), &key(keys, end))?;
            Step::ClearRange(begin, end)
        }
        _ => {
            tx.add(&key(keys, a), &value.to_le_bytes())?;
            Step::Add(a, value)
        }
    })
}

async fn transaction(
    store: &Store,
    keys: &Subspace,
    rng: &RefCell<fastrand::Rng>,
    acknowledged: &AtomicU64,
) -> Done {
    let began = acknowledged.load(Ordering::SeqCst);
    let commit = store.run(&PATIENT, async |tx| {
        let mut steps = Vec::new();
        let read_version = tx.read_version().await?;
        assert!(read_version >= began, "read at {read_version}, but {began} was acknowledged before");
        let len = rng.borrow_mut().usize(1..6);
        for _ in 0..len {
            steps.push(step(tx, keys, rng).await?);
            tokio::task::yield_now().await;
        }
        Ok::<_, Error>((steps, read_version, tx.versionstamp()))
    });
    let (steps, read_version, stamp) = commit.await.unwrap();
    let order = match stamp.await {
        Ok(stamp) => {
            let (version, order) = stamp.split_at(8);
            let version = u64::from_be_bytes(version.try_into().unwrap());
            acknowledged.fetch_max(version, Ordering::SeqCst);
            (version, u16::from_be_bytes(order.try_into().unwrap()), false)
        }
        Err(_) => (read_version, u16::MAX, true),
    };
    Done { order, began, steps }
}

/// Runs `work` on several threads, each with its own runtime.
fn on_threads<T: Send + 'static>(work: impl AsyncFn(u64) -> T + Clone + Send + 'static) -> Vec<T> {
    let threads = (0..THREADS).map(|thread| {
        let work = work.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(tokio::task::LocalSet::new().run_until(work(thread)))
        })
    });
    let threads: Vec<_> = threads.collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

fn replay(model: &mut BTreeMap<Vec<u8>, Vec<u8>>, keys: &Subspace, done: &Done) {
    for step in &done.steps {
        match step {
            Step::Get(index, seen) => assert_eq!(model.get(&key(keys, *index)), seen.as_ref(), "{done:?}"),
            Step::Range { begin, end, reverse, limit, seen } => {
                let rows = model.range(key(keys, *begin)..key(keys, *end));
                let rows = rows.map(|(key, value)| (key.clone(), value.clone()));
                let rows: Vec<_> =
                    if *reverse { rows.rev().take(*limit).collect() } else { rows.take(*limit).collect() };
                assert_eq!(&rows, seen, "{done:?}");
            }
            Step::Set(index, value) => drop(model.insert(key(keys, *index), value.clone())),
            Step::Clear(index) => drop(model.remove(&key(keys, *index))),
            Step::ClearRange(begin, end) => {
                model.retain(|row, _| !(key(keys, *begin)..key(keys, *end)).contains(row));
            }
            Step::Add(index, operand) => {
                let sum = number(model.get(&key(keys, *index))).wrapping_add(*operand);
                model.insert(key(keys, *index), sum.to_le_bytes().to_vec());
            }
        }
    }
}

pub(crate) async fn random_transactions_replay_in_commit_order(place: &Place) {
    let seed = seed();
    let acknowledged = Arc::new(AtomicU64::new(0));
    let (store, keys, shared) = (place.store.clone(), place.keys.clone(), Arc::clone(&acknowledged));
    let histories = on_threads(async move |thread| {
        let tasks = (0..TASKS).map(|task| {
            let (store, keys, shared) = (store.clone(), keys.clone(), Arc::clone(&shared));
            tokio::task::spawn_local(async move {
                let rng = RefCell::new(fastrand::Rng::with_seed(seed ^ (thread * TASKS + task)));
                let mut history = Vec::new();
                for _ in 0..TRANSACTIONS {
                    history.push(transaction(&store, &keys, &rng, &shared).await);
                }
                history
            })
        });
        let mut histories = Vec::new();
        for task in tasks.collect::<Vec<_>>() {
            histories.extend(task.await.unwrap());
        }
        histories
    });
    let mut histories: Vec<_> = histories.into_iter().flatten().collect();
    assert_eq!(histories.len() as u64, THREADS * TASKS * TRANSACTIONS);
    histories.sort_by_key(|done| done.order);
    let mut model = BTreeMap::new();
    for done in &histories {
        let read_only = done.order.2;
        assert!(done.order.0 > done.began || read_only, "commits before one that was acknowledged: {done:?}");
        replay(&mut model, &place.keys, done);
    }
    let rows =
        place.store.read(&PATIENT, async |snapshot| snapshot.range(Range::subspace(&place.keys)).await);
    assert_eq!(pairs(rows.await.unwrap()), model.into_iter().collect::<Vec<_>>());
}

/// Every commit changes all keys; one of the keys exists after every other commit only. A reader
/// that reads all keys repeatedly must always see those of one commit, and never an older commit
/// than before.
pub(crate) async fn keys_that_are_read_again_and_again_are_those_of_one_commit(place: &Place) {
    const COMMITS: u64 = 200;
    let store = place.store.clone();
    let keys = ["set", "added", "sometimes"].map(|name| place.key(name));
    on_threads(async move |thread| {
        let [set, added, sometimes] = &keys;
        let write = async |number: u64| {
            let commit = store.run(&PATIENT, async |tx| {
                tx.set(set, &number.to_le_bytes())?;
                tx.add(added, &1u64.to_le_bytes())?;
                if number.is_multiple_of(2) { tx.set(sometimes, b"") } else { tx.clear(sometimes) }
            });
            commit.await.unwrap();
        };
        let read = async || {
            let moment = store.read(&PATIENT, async |snapshot| {
                let first = number(snapshot.get(set).await?);
                for _ in 0..3 {
                    assert_eq!(number(snapshot.get(added).await?), first);
                    let is_there = first > 0 && first.is_multiple_of(2);
                    assert_eq!(snapshot.get(sometimes).await?.is_some(), is_there, "{first}");
                    assert_eq!(number(snapshot.get(set).await?), first);
                }
                Ok::<_, Error>(first)
            });
            moment.await.unwrap()
        };
        if thread == 0 {
            for number in 1..=COMMITS {
                write(number).await;
                assert!(read().await >= number, "an acknowledged commit is seen");
            }
        } else {
            let mut last = 0;
            while last < COMMITS {
                let seen = read().await;
                assert!(seen >= last, "{seen} after {last}");
                last = seen;
            }
        }
    });
}

pub(crate) async fn counters_add_up_over_threads(place: &Place) {
    let (store, read, added) = (place.store.clone(), place.key("read"), place.key("added"));
    let (read_key, added_key) = (read.clone(), added.clone());
    on_threads(async move |_| {
        for _ in 0..50 {
            let count = store.run(&PATIENT, async |tx| {
                let before = number(tx.get(&read).await?);
                tx.set(&read, &(before + 1).to_le_bytes())?;
                tx.add(&added, &1u64.to_le_bytes())
            });
            count.await.unwrap();
        }
    });
    for key in [read_key, added_key] {
        assert_eq!(number(place.store.get(&key).await.unwrap()), THREADS * 50);
    }
}
