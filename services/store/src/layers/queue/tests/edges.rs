//! The edges of a queue: order, bounds, waiting, and consumers that meet.

use std::{collections::BTreeSet, rc::Rc, time::Duration};

use super::super::{BATCH_MAX, Fate, Item, Lengths, QueueError, REASON_BYTES_MAX};
use super::{ATTEMPTS_MAX, LEASE_MS, Place, seed};
use crate::{CallerError, Error, RunOptions, limits};

fn body(number: u64) -> Item {
    Item::new(number.to_le_bytes().to_vec())
}

fn number(lease: &super::super::Lease) -> u64 {
    u64::from_le_bytes(lease.body()[..].try_into().unwrap())
}

#[tokio::test]
async fn one_consumer_takes_items_in_the_order_of_their_commits() {
    let place = Place::new();
    let queue = place.queue(seed());
    let mut ids = queue.push(&[body(0), body(1)]).await.unwrap();
    ids.extend(queue.push(&[body(2)]).await.unwrap());
    // Two pushes in one transaction have different places.
    let options = RunOptions::default();
    let both = queue.store.run(&options, async |tx| {
        queue.push_in(tx, &body(3))?;
        queue.push_in(tx, &body(4))
    });
    both.await.unwrap();
    let mut taken = queue.pop(2).await.unwrap();
    taken.extend(queue.pop(10).await.unwrap());
    assert_eq!(taken.iter().map(number).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert!(taken.iter().map(|lease| lease.id()).zip(&ids).all(|(taken, pushed)| taken == *pushed));
    assert!(queue.pop(1).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_delayed_item_is_visible_when_its_time_comes_and_not_before() {
    let place = Place::new();
    let queue = place.queue(seed());
    queue.push(&[body(1).delayed(Duration::from_millis(500)), body(2)]).await.unwrap();
    assert_eq!(queue.lengths().await.unwrap(), Lengths { ready: 1, later: 1, dead: 0 });
    assert_eq!(queue.pop(10).await.unwrap().iter().map(number).collect::<Vec<_>>(), [2]);
    place.pass(499);
    assert!(queue.pop(10).await.unwrap().is_empty());
    place.pass(1);
    assert_eq!(queue.pop(10).await.unwrap().iter().map(number).collect::<Vec<_>>(), [1]);
}

#[tokio::test]
async fn a_lost_lease_ends_nothing_and_the_item_stays_with_its_new_holder() {
    let place = Place::new();
    let (slow, fast) = (place.queue(seed()), place.queue(1));
    slow.push(&[body(7)]).await.unwrap();
    let mut old = slow.pop(1).await.unwrap().remove(0);
    place.pass(LEASE_MS);
    let new = fast.pop(1).await.unwrap().remove(0);
    assert_eq!((old.attempt(), new.attempt(), number(&new)), (1, 2, 7));
    let lost = |result: Result<(), QueueError>| {
        let error = result.unwrap_err();
        assert!(matches!(error, QueueError::LeaseLost { attempt: 1, .. }), "{error}");
        assert!(error.to_string().contains(&new.id().to_string()), "{error}");
    };
    lost(slow.ack(&old).await);
    lost(slow.retry(&old, "late").await.map(drop));
    lost(slow.release(&old).await);
    lost(slow.extend(&mut old).await);
    assert_eq!(slow.ack_all(&[old]).await.unwrap(), [new.id()]);
    fast.ack(&new).await.unwrap();
    assert_eq!(fast.lengths().await.unwrap(), Lengths::default());
    assert!(matches!(fast.ack(&new).await, Err(QueueError::LeaseLost { .. })));
}

#[tokio::test]
async fn an_extended_lease_keeps_others_away_and_a_released_item_has_all_its_attempts() {
    let place = Place::new();
    let queue = place.queue(seed());
    queue.push(&[body(1)]).await.unwrap();
    let mut lease = queue.pop(1).await.unwrap().remove(0);
    place.pass(LEASE_MS - 1);
    queue.extend(&mut lease).await.unwrap();
    place.pass(LEASE_MS - 1);
    assert!(queue.pop(1).await.unwrap().is_empty());
    for _ in 0..2 * ATTEMPTS_MAX {
        queue.release(&lease).await.unwrap();
        lease = queue.pop(1).await.unwrap().remove(0);
    }
    assert_eq!(lease.attempt(), 2 * ATTEMPTS_MAX + 1);
    queue.ack(&lease).await.unwrap();
}

#[tokio::test]
async fn a_dead_letter_says_why_and_is_requeued_or_purged() {
    let place = Place::new();
    let queue = place.queue(seed());
    queue.push(&[body(1), body(2)]).await.unwrap();
    let long = "é".repeat(REASON_BYTES_MAX);
    for attempt in 1..=ATTEMPTS_MAX {
        place.pass(LEASE_MS);
        let leases = queue.pop(2).await.unwrap();
        let fate = queue.retry(&leases[0], &long).await.unwrap();
        assert_eq!(fate == Fate::Dead, attempt == ATTEMPTS_MAX, "{fate:?}");
    }
    place.pass(LEASE_MS);
    assert!(queue.pop(2).await.unwrap().is_empty(), "the item whose leases only ended is dead too");
    let dead = queue.dead_letters(None, 10).await.unwrap();
    let after = queue.dead_letters(Some(dead[0].id), 10).await.unwrap();
    assert_eq!((dead.len(), &after[..]), (2, &dead[1..]));
    let mut reasons: Vec<&str> = dead.iter().map(|letter| &letter.reason[..]).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["the lease ended without an answer", &"é".repeat(REASON_BYTES_MAX / 2)]);
    assert!(dead.iter().all(|letter| letter.attempts == ATTEMPTS_MAX && letter.at_ms > 0));

    let ids = [dead[0].id, dead[0].id];
    assert_eq!(queue.requeue(&ids).await.unwrap(), 1);
    assert_eq!((queue.requeue(&ids).await.unwrap(), queue.purge(&ids).await.unwrap()), (0, 0));
    assert_eq!(queue.purge(&[dead[1].id]).await.unwrap(), 1);
    let again = queue.pop(2).await.unwrap();
    assert_eq!((again.len(), again[0].body(), again[0].attempt()), (1, &dead[0].body, ATTEMPTS_MAX + 1));
    assert!(matches!(queue.retry(&again[0], "no").await.unwrap(), Fate::Again(_)));
}

#[tokio::test]
async fn bounds_are_errors_that_name_the_value_and_the_limit() {
    let place = Place::new();
    let queue = place.queue(seed());
    let refused = |result: Result<usize, QueueError>, len: usize| {
        let error = result.unwrap_err();
        assert!(matches!(error, QueueError::Batch { len: found } if found == len), "{error}");
        assert!(error.to_string().contains(&BATCH_MAX.to_string()), "{error}");
    };
    refused(queue.push(&[]).await.map(|ids| ids.len()), 0);
    let many = vec![body(0); BATCH_MAX + 1];
    refused(queue.push(&many).await.map(|ids| ids.len()), BATCH_MAX + 1);
    refused(queue.pop(0).await.map(|leases| leases.len()), 0);
    refused(queue.wait(BATCH_MAX + 1).await.map(|leases| leases.len()), BATCH_MAX + 1);
    refused(queue.ack_all(&[]).await.map(|ids| ids.len()), 0);
    refused(queue.dead_letters(None, 0).await.map(|dead| dead.len()), 0);
    refused(queue.requeue(&[]).await, 0);
    refused(queue.purge(&[]).await, 0);
    let large = Item::new(vec![0; limits::VALUE_BYTES_MAX + 1]);
    let error = queue.push(&[body(1), large]).await.unwrap_err();
    let expected = Error::from(CallerError::ValueTooLarge { len: limits::VALUE_BYTES_MAX + 1 });
    assert_eq!(error.to_string(), expected.to_string());
    assert_eq!(queue.lengths().await.unwrap(), Lengths::default(), "all items or none");
    queue.push(&[Item::new(vec![1; limits::VALUE_BYTES_MAX])]).await.unwrap();
    assert_eq!(queue.pop(1).await.unwrap()[0].body().len(), limits::VALUE_BYTES_MAX);
}

#[tokio::test]
async fn a_push_and_an_ack_belong_to_the_caller_s_transaction() {
    let place = Place::new();
    let queue = place.queue(seed());
    let options = RunOptions::default();
    let failed = queue.store.run(&options, async |tx| {
        queue.push_in(tx, &body(1))?;
        Err::<(), QueueError>(QueueError::Batch { len: 0 })
    });
    failed.await.unwrap_err();
    assert_eq!(queue.lengths().await.unwrap(), Lengths::default());

    queue.push(&[body(1)]).await.unwrap();
    let old = queue.pop(1).await.unwrap().remove(0);
    place.pass(LEASE_MS);
    let new = queue.pop(1).await.unwrap().remove(0);
    for (lease, effect) in [(&old, None), (&new, Some(&b"done"[..]))] {
        let done = queue.store.run(&options, async |tx| {
            tx.set(b"effect", b"done")?;
            queue.ack_in(tx, lease).await
        });
        assert_eq!(done.await.is_ok(), effect.is_some());
        assert_eq!(queue.store.get(b"effect").await.unwrap().as_deref(), effect);
    }
}

/// Fails after the deadline, so that a wait that never ends fails.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("the wait does not end")
}

#[tokio::test]
async fn a_waiting_consumer_gets_the_next_push_and_what_is_due_earlier_than_it_knew() {
    let place = Place::new();
    let (producer, consumer) = (place.queue(seed()), place.queue(1));
    let pushed = async {
        tokio::task::yield_now().await;
        producer.push(&[body(1)]).await.unwrap();
    };
    let (leases, ()) = soon(async { tokio::join!(consumer.wait(5), pushed) }).await;
    assert_eq!(leases.unwrap().iter().map(number).collect::<Vec<_>>(), [1]);
    // The consumer knows of an item in an hour; a new one comes at once.
    producer.push(&[body(2).delayed(Duration::from_secs(3600))]).await.unwrap();
    let pushed = async {
        tokio::task::yield_now().await;
        producer.push(&[body(3)]).await.unwrap();
    };
    let (leases, ()) = soon(async { tokio::join!(consumer.wait(5), pushed) }).await;
    assert_eq!(leases.unwrap().iter().map(number).collect::<Vec<_>>(), [3]);
}

#[tokio::test]
async fn consumers_that_meet_at_the_head_take_different_items() {
    let seed = seed();
    let place = Place::new();
    let queues: Vec<_> = (0..8).map(|number| Rc::new(place.queue(seed ^ number))).collect();
    let numbers: Vec<Item> = (0..200).map(body).collect();
    queues[0].push(&numbers).await.unwrap();
    let tasks = tokio::task::LocalSet::new();
    let mut taken = BTreeSet::new();
    while taken.len() < 200 {
        // Each task reads at its first poll, and most of them before the first commits.
        let pops: Vec<_> = queues.iter().map(Rc::clone).collect();
        let pops: Vec<_> =
            pops.into_iter().map(|queue| tasks.spawn_local(async move { queue.pop(3).await })).collect();
        for pop in pops {
            let leases = soon(tasks.run_until(pop)).await.unwrap().unwrap();
            assert!(leases.iter().all(|lease| lease.attempt() == 1 && taken.insert(number(lease))));
        }
    }
    let windows: Vec<_> = queues.iter().map(|queue| queue.spread.rows(1)).collect();
    assert!(windows.iter().any(|rows| *rows > 1), "no pops collided: {windows:?}");
}
