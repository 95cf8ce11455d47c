//! Which transactions may commit, and what a transaction sees of others.

use std::{cell::Cell, time::Duration};

use store::{CallerError, Error, Range, RetryError, RunOptions, StoreError, Transaction, limits};

use super::{Outcome, PATIENT, Place, number};

/// Runs `first`, and commits `meanwhile` during its first attempt; returns the number of attempts.
async fn interrupted(first: impl AsyncFn(&Transaction, &dyn Fn() -> bool) -> Outcome, place: &Place) -> u32 {
    let attempts = Cell::new(0);
    place
        .store
        .run(&PATIENT, async |tx| {
            attempts.set(attempts.get() + 1);
            first(tx, &|| attempts.get() == 1).await
        })
        .await
        .unwrap();
    attempts.get()
}

pub(crate) async fn an_update_is_not_lost(place: &Place) {
    let key = place.key("counter");
    let attempts = interrupted(
        async |tx, first| {
            let before = number(tx.get(&key).await?);
            if first() {
                place.set("counter", &10u64.to_le_bytes()).await;
            }
            tx.set(&key, &(before + 1).to_le_bytes())
        },
        place,
    )
    .await;
    assert_eq!((attempts, number(place.get("counter").await)), (2, 11));
}

pub(crate) async fn write_skew_is_refused(place: &Place) {
    // A doctor may leave only while the other is on call.
    place.set("alice", b"on").await;
    place.set("bob", b"on").await;
    let leave = async |tx: &Transaction, who: &str, other: &str| {
        if tx.get(&place.key(other)).await?.as_deref() == Some(b"on") {
            tx.set(&place.key(who), b"off")?;
        }
        Ok::<_, Error>(())
    };
    let attempts = interrupted(
        async |tx, first| {
            leave(tx, "alice", "bob").await?;
            if first() {
                place.store.run(&PATIENT, async |tx| leave(tx, "bob", "alice").await).await?;
            }
            Ok(())
        },
        place,
    )
    .await;
    assert_eq!(attempts, 2);
    assert_eq!((place.get("alice").await, place.get("bob").await), (Some(b"on".into()), Some(b"off".into())));
}

pub(crate) async fn a_phantom_is_refused(place: &Place) {
    let rooms = Range::subspace(&place.keys.subspace(&"room"));
    let booked = place.keys.subspace(&"room").pack(&(1,));
    let attempts = interrupted(
        async |tx, first| {
            let bookings = tx.range(rooms.clone()).await?.len();
            if first() {
                assert_eq!(bookings, 0);
                place.store.run(&PATIENT, async |tx| tx.set(&booked, b"them")).await?;
            }
            tx.set(&place.key("bookings"), &(bookings as u64).to_le_bytes())
        },
        place,
    )
    .await;
    assert_eq!((attempts, number(place.get("bookings").await)), (2, 1));
}

pub(crate) async fn a_cleared_range_conflicts(place: &Place) {
    place.set("m", b"x").await;
    let attempts = interrupted(
        async |tx, first| {
            let there = tx.get(&place.key("m")).await?.is_some();
            if first() {
                let (begin, end) = (place.key("a"), place.key("z"));
                place.store.run(&PATIENT, async |tx| tx.clear_range(&begin, &end)).await?;
            }
            tx.set(&place.key("seen"), &[u8::from(there)])
        },
        place,
    )
    .await;
    // The range includes `seen`, which was written later.
    assert_eq!((attempts, place.get("m").await, place.get("seen").await), (2, None, Some(vec![0])));
}

pub(crate) async fn a_blind_write_does_not_conflict(place: &Place) {
    let attempts = interrupted(
        async |tx, first| {
            tx.set(&place.key("k"), b"first")?;
            if first() {
                place.set("k", b"meanwhile").await;
            }
            Ok(())
        },
        place,
    )
    .await;
    assert_eq!((attempts, place.get("k").await), (1, Some(b"first".to_vec())));
}

pub(crate) async fn snapshot_reads_do_not_conflict(place: &Place) {
    let attempts = interrupted(
        async |tx, first| {
            let seen = tx.snapshot().get(&place.key("k")).await?;
            assert_eq!(tx.snapshot().range(Range::subspace(&place.keys)).await?.len(), 0);
            if first() {
                place.set("k", b"meanwhile").await;
            }
            assert_eq!(tx.snapshot().get(&place.key("k")).await?, seen, "one moment");
            tx.set(&place.key("done"), b"")
        },
        place,
    )
    .await;
    assert_eq!(attempts, 1);
}

pub(crate) async fn a_read_only_transaction_does_not_conflict(place: &Place) {
    let attempts = interrupted(
        async |tx, first| {
            tx.get(&place.key("k")).await?;
            if first() {
                place.set("k", b"meanwhile").await;
            }
            Ok(())
        },
        place,
    )
    .await;
    assert_eq!(attempts, 1);
}

pub(crate) async fn reads_see_one_moment(place: &Place) {
    place.set("a", b"1").await;
    let seen = place
        .store
        .read(&PATIENT, async |snapshot| {
            let a = snapshot.get(&place.key("a")).await?;
            place.set("a", b"2").await;
            place.set("b", b"2").await;
            assert_eq!(snapshot.range(Range::subspace(&place.keys)).await?.len(), 1);
            Ok::<_, Error>((a, snapshot.get(&place.key("a")).await?, snapshot.get(&place.key("b")).await?))
        })
        .await
        .unwrap();
    assert_eq!(seen, (Some("1".into()), Some("1".into()), None));
}

#[derive(Debug)]
enum AppError {
    Refused,
    #[expect(dead_code, reason = "printed when a test fails")]
    Store(Error),
}

impl From<Error> for AppError {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

pub(crate) async fn a_failed_closure_writes_nothing(place: &Place) {
    let attempts = Cell::new(0);
    let result = place
        .store
        .run(&PATIENT, async |tx| {
            attempts.set(attempts.get() + 1);
            tx.set(&place.key("k"), b"x")?;
            Err::<(), _>(AppError::Refused)
        })
        .await;
    assert!(matches!(result, Err(AppError::Refused)), "{result:?}");
    assert_eq!((attempts.get(), place.get("k").await), (1, None));
}

/// A transaction that always meets a conflict.
async fn unlucky(place: &Place, options: RunOptions) -> (Result<(), Error>, u32) {
    let attempts = Cell::new(0u32);
    let result = place.store.run(&options, async |tx| {
        attempts.set(attempts.get() + 1);
        tx.get(&place.key("hot")).await?;
        place.set("hot", &attempts.get().to_le_bytes()).await;
        tx.set(&place.key("mine"), b"x")
    });
    (result.await, attempts.get())
}

pub(crate) async fn retries_end(place: &Place) {
    let (result, attempts) = unlucky(place, PATIENT.retries_max(3)).await;
    let error = result.unwrap_err();
    let expected = matches!(
        &error,
        Error::Store(StoreError::RetriesExhausted { attempts: 4, last: RetryError::Conflict, .. })
    );
    assert!(expected && attempts == 4 && !error.is_maybe_committed(), "{error}");
    assert_eq!(place.get("mine").await, None);
}

pub(crate) async fn time_ends(place: &Place) {
    let options = RunOptions { retries_max: u32::MAX, ..RunOptions::within(Duration::from_millis(50)) };
    let (result, attempts) = unlucky(place, options).await;
    let error = result.unwrap_err();
    assert!(
        matches!(error, Error::Store(StoreError::DeadlineExceeded { attempts: n, .. }) if n == attempts),
        "{error}"
    );
}

pub(crate) async fn an_application_error_after_a_conflict_is_retried(place: &Place) {
    let attempts = Cell::new(0);
    let result = place
        .store
        .run(&PATIENT, async |tx| {
            attempts.set(attempts.get() + 1);
            tx.read_version().await?;
            if attempts.get() == 1 {
                place.pass(limits::TRANSACTION_AGE_MAX).await;
            }
            // The closure hides the store's error behind an error of its own.
            tx.get(&place.key("k")).await.map_err(|_| AppError::Refused)?;
            Ok::<_, AppError>(())
        })
        .await;
    assert!(matches!(result, Ok(())) && attempts.get() == 2, "{result:?} after {attempts:?}");
}

pub(crate) async fn a_transaction_gets_too_old(place: &Place) {
    let once = PATIENT.retries_max(0);
    let result = place.store.run(&once, async |tx| {
        tx.get(&place.key("k")).await?;
        place.pass(limits::TRANSACTION_AGE_MAX).await;
        let read = tx.get(&place.key("k")).await;
        assert!(matches!(read, Err(Error::Retry(RetryError::TooOld))), "{read:?}");
        let range = tx.range(Range::subspace(&place.keys)).await;
        assert!(matches!(range, Err(Error::Retry(RetryError::TooOld))), "{range:?}");
        read.map(drop)
    });
    let error = result.await.unwrap_err();
    let expected =
        matches!(&error, Error::Store(StoreError::RetriesExhausted { last: RetryError::TooOld, .. }));
    assert!(expected, "{error}");
}

pub(crate) async fn a_transaction_that_is_too_old_cannot_commit(place: &Place) {
    let attempts = interrupted(
        async |tx, first| {
            tx.get(&place.key("k")).await?;
            if first() {
                place.pass(limits::TRANSACTION_AGE_MAX).await;
            }
            tx.set(&place.key("k"), b"x")
        },
        place,
    )
    .await;
    assert_eq!(attempts, 2);
}

pub(crate) async fn an_acknowledged_write_is_seen_by_all_that_start_later(place: &Place) {
    let key = place.key("k");
    for number in 0..100u64 {
        place.set("k", &number.to_le_bytes()).await;
        let (store, key) = (place.store.clone(), key.clone());
        let elsewhere = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(store.get(&key)).unwrap()
        });
        assert_eq!(super::number(elsewhere.join().unwrap()), number);
    }
    let refused = place.store.get(b"").await;
    assert!(matches!(refused, Err(Error::Caller(CallerError::KeyEmpty))), "{refused:?}");
}
