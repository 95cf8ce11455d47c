//! Events that are appended together share rows, and are read as if each had its own.
//!
//! `LAYOUT_SEED` determines the random appends. With the feature `fdb` and `FDB_CLUSTER_FILE`, they
//! run on a cluster too.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "a seed is printed")]

use std::collections::{BTreeMap, HashMap};

use events::{Append, AppendError, Appender, EventPosition, EventStore, NewEvent, Query};
use service_host::testing::run;
use store::{Range, RunOptions, Store, Subspace};

fn open(dir: &tempfile::TempDir) -> Store {
    Store::open(&format!("embedded:{}/store", dir.path().display()).parse().unwrap()).unwrap()
}

fn event(id: &str, event_type: &str, tags: &[&str], data: &str) -> NewEvent {
    let tags = tags.iter().map(|&tag| tag.to_owned()).collect();
    NewEvent::new(id.into(), event_type.into(), tags, data).unwrap()
}

async fn append(events: &EventStore, new: Vec<NewEvent>) -> Result<Vec<EventPosition>, AppendError> {
    events.append(&Append::new(new, None).unwrap(), &RunOptions::default()).await
}

/// Number of rows by the number in their key: 0 the log, 1 ids, 2 types, 3 tags, 6 buckets of ids.
async fn rows(store: &Store) -> BTreeMap<i64, usize> {
    let all = Range::subspace(&Subspace::from("events"));
    let read = async |snapshot: store::Snapshot<'_>| snapshot.range(all.clone()).await;
    let mut rows = BTreeMap::new();
    for row in store.read(&RunOptions::default(), read).await.unwrap() {
        let part = (0..8).find(|part| row.key.starts_with(Subspace::from(("events", *part)).bytes()));
        *rows.entry(part.unwrap()).or_default() += 1;
    }
    println!("rows: {rows:?}");
    rows
}

/// The positions of all matching events, read in pages of `limit`.
async fn positions(events: &EventStore, query: &Query, limit: usize) -> Vec<EventPosition> {
    let (mut found, mut after) = (Vec::new(), EventPosition::START);
    loop {
        let page = events.read(query, after, limit, &RunOptions::default()).await.unwrap();
        assert!(page.events.len() <= limit);
        found.extend(page.events.iter().map(|(position, _)| *position));
        // The last event's position is as good as the page's.
        after = page.events.last().map_or(page.position, |(position, _)| *position);
        if !page.more {
            return found;
        }
    }
}

#[test]
fn single_appends_of_one_commit_share_the_rows_of_the_log_and_of_types() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir);
        let appender = Appender::new(EventStore::new(store.clone()));
        let tasks = (0..80).map(|n| {
            let appender = appender.clone();
            let tag = format!("entity:{n}");
            let new = event(&format!("id-{n}-of-one"), "Type", &[&tag], &format!("\"{}\"", "x".repeat(200)));
            let append = Append::new(vec![new], None).unwrap();
            tokio::task::spawn_local(async move { appender.append(append, &RunOptions::default()).await })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap().unwrap();
        }
        let rows = rows(&store).await;
        assert_eq!((rows[&1], rows[&2], rows[&3]), (80, 1, 80), "{rows:?}");
        assert!(rows[&0] <= 8 && !rows.contains_key(&6), "{rows:?}");
    });
}

#[test]
fn a_large_append_takes_fewer_rows_than_it_has_events() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir);
        let events = EventStore::new(store.clone());
        let new = |n: i32| event(&format!("import-7-{n:04}"), "Type", &["import:7"], "{\"text\":\"x\"}");
        let all: Vec<_> = (0..100).map(new).collect();
        let appended = append(&events, all.clone()).await.unwrap();
        let rows = rows(&store).await;
        assert!(rows.values().sum::<usize>() <= 12, "{rows:?}");
        assert_eq!(rows.get(&1), None, "{rows:?}");

        // Another process, which has not seen how ids are stored.
        let other = EventStore::new(store.clone());
        assert_eq!(append(&other, all[41..42].to_vec()).await.unwrap(), appended[41..42]);
        assert_eq!(append(&other, all.clone()).await.unwrap(), appended);
        let changed = event("import-7-0099", "Type", &["import:7"], "1");
        let refused = append(&events, [all[3..50].to_vec(), vec![changed]].concat()).await.unwrap_err();
        assert!(
            matches!(refused, AppendError::IdTaken { index: 47, position, .. } if position == appended[99])
        );
        for query in [Query::default(), Query::new(vec![], vec!["import:7".into()]).unwrap()] {
            assert_eq!(positions(&events, &query, 1000).await, appended);
        }
    });
}

#[test]
fn a_reader_continues_in_the_middle_of_a_row() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let events = EventStore::new(open(&dir));
        let mut appended = Vec::new();
        for batch in [1, 300, 1, 1, 700, 2] {
            let at = appended.len();
            let new = (at..at + batch).map(|n| {
                let tags = [["third"; 1], ["all"; 1]].concat();
                let data = format!("\"{}\"", "x".repeat(n % 7 * 200));
                event(&format!("{n}"), &format!("Type{}", n % 2), &tags[usize::from(n % 3 > 0)..], &data)
            });
            appended.extend(append(&events, new.collect()).await.unwrap());
        }
        let every = |step: usize| appended.iter().copied().step_by(step).collect::<Vec<_>>();
        let of = |types: &[&str], tags: &[&str]| {
            let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
            Query::new(names(types), names(tags)).unwrap()
        };
        for limit in [1, 7, 100, 1000] {
            assert_eq!(positions(&events, &Query::default(), limit).await, appended, "{limit}");
            assert_eq!(positions(&events, &of(&[], &["all"]), limit).await, appended, "{limit}");
            assert_eq!(positions(&events, &of(&[], &["third"]), limit).await, every(3), "{limit}");
            assert_eq!(positions(&events, &of(&["Type0"], &[]), limit).await, every(2), "{limit}");
            assert_eq!(positions(&events, &of(&["Type0"], &["third"]), limit).await, every(6), "{limit}");
            assert_eq!(positions(&events, &of(&["Type0", "Type1"], &[]), limit).await, appended, "{limit}");
        }
    });
}

#[test]
fn an_id_has_one_event_however_its_appends_are_cut() {
    let dir = tempfile::tempdir().unwrap();
    run(check_ids(&EventStore::new(open(&dir))));
}

#[cfg(feature = "fdb")]
#[test]
fn an_id_has_one_event_on_a_cluster_too() {
    let Ok(cluster) = std::env::var("FDB_CLUSTER_FILE") else {
        println!("SKIPPED: FDB_CLUSTER_FILE is not set");
        return;
    };
    let _network = store::Network::new();
    let store = Store::open(&format!("fdb:{cluster}").parse().unwrap()).unwrap();
    let prefix = Subspace::from(("test-events", fastrand::i64(..)));
    run(async {
        check_ids(&EventStore::under(store.clone(), &prefix)).await;
        let (begin, end) = prefix.range();
        let clear = async |transaction: &store::Transaction| transaction.clear_range(&begin, &end);
        store.run(&RunOptions::default(), clear).await.unwrap();
    });
}

/// Random appends of ids that overlap, beside a model. Few ids repeat with other data.
async fn check_ids(events: &EventStore) {
    let seed = std::env::var("LAYOUT_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("LAYOUT_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut model = HashMap::<String, (EventPosition, String)>::new();
    let (mut refused, mut repeated) = (0, 0);
    for _ in 0..300 {
        let (first, len) = (rng.usize(..2_000), if rng.bool() { 1 } else { rng.usize(1..150) });
        let form = rng.u8(..3);
        let mut new: Vec<(String, String)> = Vec::new();
        for n in first..first + len {
            if form == 0 && rng.u8(..3) == 0 {
                continue;
            }
            let id = if form == 2 { format!("{n}") } else { format!("bätch-{n:04}") };
            new.push((id, if rng.u16(..500) == 0 { "2" } else { "1" }.to_owned()));
        }
        if new.is_empty() {
            continue;
        }
        let taken = new.iter().position(|(id, data)| model.get(id).is_some_and(|(_, old)| old != data));
        let answer =
            append(events, new.iter().map(|(id, data)| event(id, "T", &["t"], data)).collect()).await;
        match answer {
            Ok(positions) => {
                assert_eq!((taken, positions.len()), (None, new.len()));
                for ((id, data), position) in new.into_iter().zip(positions) {
                    let known = model.entry(id).or_insert_with(|| (position, data));
                    assert_eq!(known.0, position);
                    repeated += 1;
                }
            }
            Err(AppendError::IdTaken { index, position, .. }) => {
                assert_eq!((Some(index), position), (taken, model[&new[index].0].0));
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused > 0 && repeated > model.len(), "seed {seed}: nothing repeated");
    let mut expected: Vec<_> = model.into_values().map(|(position, _)| position).collect();
    expected.sort_unstable();
    assert_eq!(positions(events, &Query::default(), 1000).await, expected);
}
