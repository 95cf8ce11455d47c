//! The counters of a store. Alone in its process, because the counters are those of the process.

#![allow(clippy::unwrap_used, reason = "tests fail by panic")]

use store::{Error, Range, RunOptions, Store};

#[tokio::test]
async fn what_transactions_do_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("embedded:{}", dir.path().display()).parse().unwrap()).unwrap();
    assert!(store.counters().iter().all(|(_, number)| *number == 0), "{:?}", store.counters());
    let options = RunOptions::default();

    store.run(&options, async |tx| tx.set(b"a", b"12345")).await.unwrap();
    assert!(store.get(b"a").await.unwrap().is_some());
    store.read(&options, async |snapshot| snapshot.range(Range::prefix("a")).await).await.unwrap();
    let first = std::cell::Cell::new(true);
    let conflicting = store.run(&options, async |tx| {
        tx.get(b"a").await?;
        tx.set(b"b", b"x")?;
        if first.take() {
            store.run(&RunOptions::default(), async |tx| tx.set(b"a", b"67890")).await?;
        }
        Ok::<_, Error>(())
    });
    conflicting.await.unwrap();

    let counters = store.counters();
    let number = |name: &str| counters.iter().find(|(known, _)| *known == name).unwrap().1;
    assert_eq!(number("store.transactions"), 4);
    assert_eq!(number("store.reads"), 3, "one alone, and one in each attempt");
    assert_eq!(number("store.ranges"), 1);
    assert_eq!(number("store.read_bytes"), 5 + 6 + 5 + 5);
    assert_eq!(number("store.read_versions"), 3);
    assert_eq!(number("store.commits"), 3);
    assert_eq!([number("store.conflicts"), number("store.retries")], [1, 1]);
    assert_eq!(
        [number("store.unwritable"), number("store.write_failures"), number("store.torn_bytes")],
        [0; 3]
    );
}
