//! Reads that are sent at once: the same results and the same conflicts as one after the other.

use std::cell::Cell;

use store::{Error, Range};

use crate::{PATIENT, Place};

/// More than one batch.
const ROWS: u64 = 600;

fn name(number: u64) -> String {
    format!("{number:05}")
}

pub(crate) async fn keys_read_at_once_have_the_values_of_one_moment(place: &Place) {
    place.set_all((0..ROWS).map(name)).await;
    let names: Vec<_> = (0..ROWS + 5).rev().map(name).collect();
    let keys: Vec<_> = names.iter().map(|name| place.key(name)).collect();
    let attempts = Cell::new(0);
    let read = place.store.run(&PATIENT, async |tx| {
        attempts.set(attempts.get() + 1);
        tx.set(&place.key(&name(7)), b"own")?;
        let once = tx.get_all(&keys).await?;
        let snapshot = tx.snapshot().get_all(&keys).await?;
        if attempts.get() == 1 {
            place.store.run(&PATIENT, async |tx| tx.set(&place.key(&name(8)), b"them")).await?;
        }
        let mut singly = Vec::new();
        for key in &keys {
            singly.push(tx.snapshot().get(key).await?);
        }
        assert_eq!((&once, &snapshot), (&singly, &singly));
        Ok::<_, Error>(once)
    });
    let once = read.await.unwrap();
    assert_eq!(attempts.get(), 2, "a key that was read changed");
    let value = |number: u64| once[names.iter().position(|known| *known == name(number)).unwrap()].as_deref();
    assert_eq!(once.len(), keys.len());
    assert_eq!([value(0), value(ROWS)], [Some(&name(0).into_bytes()[..]), None]);
    assert_eq!([value(7), value(8)], [Some(&b"own"[..]), Some(&b"them"[..])]);
}

pub(crate) async fn each_of_the_keys_read_at_once_conflicts(place: &Place) {
    let keys = ["a", "b", "c"].map(|name| place.key(name));
    for written in &keys {
        let attempts = Cell::new(0);
        let read = place.store.run(&PATIENT, async |tx| {
            attempts.set(attempts.get() + 1);
            tx.get_all(&keys).await?;
            if attempts.get() == 1 {
                place.store.run(&PATIENT, async |tx| tx.set(written, b"them")).await?;
            }
            tx.set(&place.key("seen"), b"x")
        });
        read.await.unwrap();
        assert_eq!(attempts.get(), 2);
    }
}

pub(crate) async fn ranges_read_at_once_are_whole(place: &Place) {
    place.set_all((0..ROWS).map(name)).await;
    let between = |begin, end| Range::between(place.key(&name(begin)), place.key(&name(end)));
    let ranges =
        [between(0, ROWS), between(10, 20).reversed(), between(30, 30), between(100, ROWS).limit(300)];
    let read = place.store.read(&PATIENT, async |snapshot| {
        let mut singly = Vec::new();
        for range in &ranges {
            singly.push(snapshot.range(range.clone()).await?);
        }
        Ok::<_, Error>((snapshot.range_all(&ranges).await?, singly))
    });
    let (once, singly) = read.await.unwrap();
    assert_eq!(once, singly);
    assert_eq!(once.iter().map(Vec::len).collect::<Vec<_>>(), [600, 10, 0, 300]);
}
