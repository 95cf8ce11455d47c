//! Watches: when they fire, when they end, and their limit.

use std::{future::Future, pin::pin, task::Poll};

use store::{CallerError, Error, StoreError, Transaction, Watch, limits};

use super::{PATIENT, Place};

async fn watch(place: &Place, name: &str) -> Watch {
    let key = place.key(name);
    place.store.run(&PATIENT, async |tx| tx.watch(&key)).await.unwrap()
}

async fn is_ready(watch: &mut (impl Future + Unpin)) -> bool {
    std::future::poll_fn(|context| Poll::Ready(pin!(&mut *watch).poll(context).is_ready())).await
}

pub(crate) async fn a_watch_fires_on_a_change(place: &Place) {
    let mut absent = watch(place, "k").await;
    assert!(!is_ready(&mut absent).await);
    place.set("k", b"1").await;
    absent.await.unwrap();
    let present = watch(place, "k").await;
    let key = place.key("k");
    place.store.run(&PATIENT, async |tx| tx.clear(&key)).await.unwrap();
    present.await.unwrap();
}

pub(crate) async fn a_watch_sees_a_change_before_it_was_entered(place: &Place) {
    let key = place.key("k");
    let made = place.store.run(&PATIENT, async |tx| {
        // Fixes the moment that the watch compares with before the change, on every backend.
        tx.read_version().await?;
        let watch = tx.watch(&key)?;
        place.set("k", b"meanwhile").await;
        Ok::<_, Error>(watch)
    });
    made.await.unwrap().await.unwrap();
    // The transaction watches a value that it writes itself.
    let own = async |tx: &Transaction| {
        tx.set(&key, b"own")?;
        tx.watch(&key)
    };
    let mut own = place.store.run(&PATIENT, own).await.unwrap();
    assert!(!is_ready(&mut own).await);
    place.set("k", b"other").await;
    own.await.unwrap();
}

pub(crate) async fn a_watch_does_not_fire_for_the_same_value(place: &Place) {
    place.set("k", b"1").await;
    let mut watch = watch(place, "k").await;
    place.set("k", b"1").await;
    place.set("other", b"1").await;
    assert!(!is_ready(&mut watch).await);
}

pub(crate) async fn a_watch_of_a_cleared_range_fires(place: &Place) {
    place.set("k", b"1").await;
    let (watch, mut absent) = (watch(place, "k").await, watch(place, "l").await);
    let (begin, end) = (place.key("a"), place.key("z"));
    place.store.run(&PATIENT, async |tx| tx.clear_range(&begin, &end)).await.unwrap();
    watch.await.unwrap();
    assert!(!is_ready(&mut absent).await);
}

pub(crate) async fn a_watch_of_a_failed_transaction_ends(place: &Place) {
    let kept = std::cell::RefCell::new(None);
    let failed = place.store.run(&PATIENT, async |tx| {
        *kept.borrow_mut() = Some(tx.watch(&place.key("k"))?);
        Err::<(), _>(Error::from(StoreError::Closed))
    });
    assert!(failed.await.is_err());
    let ended = kept.take().unwrap().await;
    assert!(matches!(ended, Err(Error::Caller(CallerError::NotCommitted))), "{ended:?}");
}

pub(crate) async fn watches_are_bounded(place: &Place) {
    let key = place.key("k");
    let mut watches = Vec::new();
    for _ in 0..limits::WATCHES_MAX / 100 {
        let some = async |tx: &Transaction| (0..100).map(|_| tx.watch(&key)).collect::<Result<Vec<_>, _>>();
        watches.extend(place.store.run(&PATIENT, some).await.unwrap());
    }
    let refused = place.store.run(&PATIENT, async |tx| tx.watch(&key)).await.map(drop);
    assert!(matches!(refused, Err(Error::Caller(CallerError::TooManyWatches))), "{refused:?}");
    watches.pop();
    let again = watch(place, "k").await;
    place.set("k", b"1").await;
    again.await.unwrap();
    for fired in watches {
        fired.await.unwrap();
    }
}
