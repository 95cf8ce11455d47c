//! Reads that are sent at once: the same results and the same conflicts as one after the other.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

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

pub(crate) async fn one_key_read_several_times_at_once_has_one_value(place: &Place) {
    place.set("a", b"1").await;
    let (a, missing) = (place.key("a"), place.key("missing"));
    let mut dropped = Box::pin(place.store.get(&a));
    let get = |key| place.store.get(key);
    let mut all = pin!(async { tokio::join!(get(&a), get(&missing), get(&a), get(&missing), get(&a)) });
    let (mut is_first_done, mut early) = (false, None);
    for _ in 0..2 {
        poll_fn(|context| {
            is_first_done = is_first_done || dropped.as_mut().poll(context).is_ready();
            if early.is_none()
                && let Poll::Ready(found) = all.as_mut().poll(context)
            {
                early = Some(found);
            }
            Poll::Ready(())
        })
        .await;
        tokio::task::yield_now().await;
    }
    // The others do not depend on the read that began first.
    drop(dropped);
    let found = match early {
        Some(found) => found,
        None => all.await,
    };
    let found = [found.0, found.1, found.2, found.3, found.4].map(|found| found.unwrap());
    let (one, none) = (Some(bytes::Bytes::from_static(b"1")), None);
    assert_eq!(found, [one.clone(), none.clone(), one.clone(), none, one]);
}
