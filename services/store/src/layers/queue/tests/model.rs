//! Random operations of three consumers, some with faults. After each, the rows are compared with
//! those before it: only what the operation may do has happened.
//!
//! Items leave the rows by a successful `ack` or `purge` alone, so none is lost, and an item that
//! was acknowledged cannot be acknowledged again.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use super::super::{DeadLetter, Fate, Item, Lease, Queue, QueueError, keys::State};
use super::{
    ATTEMPTS_MAX, BACKOFF_MS, LEASE_MS, Place, seed,
    shot::{Shot, Spot, shot},
};
use crate::{
    Error,
    layers::Id,
    store::faults::{Fault, Script, faulty},
};

const OPERATIONS: usize = 1_000;

struct Run {
    place: Place,
    script: Script,
    consumers: Vec<Queue>,
    /// Leases that consumers believe to have, also those that ended.
    held: Vec<Lease>,
    rng: fastrand::Rng,
    seen: Seen,
}

/// Proof that the rare paths ran.
#[derive(Debug, Default)]
struct Seen {
    pushed: usize,
    acked: usize,
    purged: usize,
    lost: usize,
    unknown: usize,
    died: usize,
    requeued: usize,
}

#[tokio::test]
async fn random_operations_with_faults_follow_the_model() {
    let seed = seed();
    let place = Place::new();
    let script: Script = Arc::new(Mutex::new(VecDeque::new()));
    let store = faulty(&place.store, &script);
    let consumers = (0..3).map(|number| place.queue_of(&store, seed ^ number)).collect();
    let rng = fastrand::Rng::with_seed(seed);
    let mut run = Run { place, script, consumers, held: Vec::new(), rng, seen: Seen::default() };
    for _ in 0..OPERATIONS {
        run.operation().await;
    }
    run.empty().await;
    println!("{:?}", run.seen);
    let Seen { pushed, acked, purged, lost, unknown, died, requeued } = run.seen;
    assert!(acked + purged <= pushed, "more items ended than were pushed");
    let rare = [acked, purged, lost, unknown, died, requeued];
    assert!(rare.iter().all(|count| *count > 0), "a path did not run");
}

impl Run {
    async fn operation(&mut self) {
        let consumer = self.rng.usize(..self.consumers.len());
        let before = shot(&self.consumers[0]).await;
        let fault = self.fault();
        match self.rng.u32(..20) {
            0..3 => self.push(consumer, &before).await,
            3..9 => self.pop(consumer, &before, fault).await,
            9..11 => self.ack(consumer, &before).await,
            11 => self.ack_all(consumer, &before).await,
            12..14 => self.retry(consumer, &before).await,
            14 => self.release(consumer, &before).await,
            15 => self.extend(consumer, &before).await,
            16 => self.requeue(consumer, &before).await,
            17 => self.purge(consumer, &before).await,
            _ => self.place.pass(self.rng.u64(..2 * LEASE_MS)),
        }
        self.script.lock().unwrap().clear();
    }

    /// Puts a fault into the next commit, sometimes.
    fn fault(&mut self) -> Option<Fault> {
        let faults = [Fault::AnswerLost, Fault::NeverArrived, Fault::Conflict];
        let fault = faults.get(self.rng.usize(..12)).copied();
        self.script.lock().unwrap().extend(fault);
        fault
    }

    /// A lease out of those held, and its item's place when the lease is still the newest.
    fn choose(&mut self, before: &Shot) -> Option<(Lease, bool)> {
        let at = self.rng.choice(0..self.held.len())?;
        let lease = self.held.swap_remove(at);
        let is_newest = before.get(&lease.id) == Some(&Spot::Later(lease.until_ms, lease.state));
        Some((lease, is_newest))
    }

    async fn after(&self) -> Shot {
        self.script.lock().unwrap().clear();
        shot(&self.consumers[0]).await
    }

    /// The expected rows of a change of one item: as `change` says, or as before when the outcome
    /// is unknown or the lease is lost.
    async fn check_one<T>(
        &mut self,
        before: &Shot,
        (lease, is_newest): (&Lease, bool),
        result: &Result<T, QueueError>,
        change: Option<Spot>,
    ) {
        let after = self.after().await;
        let mut changed = before.clone();
        match change {
            Some(spot) => changed.insert(lease.id, spot),
            None => changed.remove(&lease.id),
        };
        match result {
            Ok(_) => assert!(is_newest && after == changed, "{before:?} became {after:?}"),
            Err(QueueError::LeaseLost { id, attempt }) => {
                assert_eq!((*id, *attempt), (lease.id, lease.attempt()));
                assert!(!is_newest && after == *before, "{before:?} became {after:?}");
                self.seen.lost += 1;
            }
            Err(error) => {
                assert!(is_unknown(error), "{error}");
                assert!(after == changed || after == *before, "{before:?} became {after:?}");
                self.seen.unknown += 1;
            }
        }
    }

    async fn push(&mut self, consumer: usize, before: &Shot) {
        let now = self.place.now();
        let delays: Vec<u64> = (0..self.rng.usize(1..4)).map(|_| self.rng.u64(..3) * 500).collect();
        let item = |delay: &u64| Item::new("work").delayed(Duration::from_millis(*delay));
        let items: Vec<Item> = delays.iter().map(item).collect();
        let result = self.consumers[consumer].push(&items).await;
        let after = self.after().await;
        let new: Vec<(Id, Spot)> =
            after.iter().filter(|(id, _)| !before.contains_key(id)).map(|(id, spot)| (*id, *spot)).collect();
        assert!(before.iter().all(|(id, spot)| after.get(id) == Some(spot)));
        let spots = delays.iter().map(|delay| match delay {
            0 => Spot::Ready(State::NEW),
            delay => Spot::Later(now + delay, State::NEW),
        });
        match result {
            Ok(ids) => assert_eq!(new, ids.into_iter().zip(spots).collect::<Vec<_>>()),
            Err(error) => {
                assert!(is_unknown(&error), "{error}");
                assert!(new.is_empty() || new.iter().map(|(_, spot)| *spot).eq(spots));
            }
        }
        self.seen.pushed += new.len();
    }

    async fn pop(&mut self, consumer: usize, before: &Shot, fault: Option<Fault>) {
        let now = self.place.now();
        let max = self.rng.usize(1..4);
        let leases = self.consumers[consumer].pop(max).await.unwrap();
        let after = self.after().await;
        let mut taken = BTreeSet::new();
        assert!(before.keys().eq(after.keys()));
        for (id, old) in before {
            let new = after[id];
            if new == *old {
                continue;
            }
            let state = match *old {
                Spot::Ready(state) => state,
                Spot::Later(at, state) if at <= now => state,
                invisible => panic!("{invisible:?} became {new:?}"),
            };
            if state.failures() == ATTEMPTS_MAX {
                assert_eq!(new, Spot::Dead(state.attempts));
                self.seen.died += 1;
                continue;
            }
            let leased = State { attempts: state.attempts + 1, is_leased: true, ..state };
            assert_eq!(new, Spot::Later(now + LEASE_MS, leased));
            taken.insert(*id);
        }
        let given: BTreeSet<Id> = leases.iter().map(Lease::id).collect();
        assert!(leases.len() <= max && given.len() == leases.len() && given.is_subset(&taken));
        // An answer that was lost leaves leases that no consumer knows of.
        assert!(fault == Some(Fault::AnswerLost) || given == taken, "{given:?}, {taken:?}");
        let visible = |spot: &&Spot| match spot {
            Spot::Ready(state) => state.failures() < ATTEMPTS_MAX,
            Spot::Later(at, state) => *at <= now && state.failures() < ATTEMPTS_MAX,
            Spot::Dead(_) => false,
        };
        let nothing_left = !after.values().any(|spot| visible(&spot));
        assert!(!leases.is_empty() || nothing_left, "items are visible, and none was given");
        self.held.extend(leases);
    }

    async fn ack(&mut self, consumer: usize, before: &Shot) {
        let Some((lease, is_newest)) = self.choose(before) else { return };
        let result = self.consumers[consumer].ack(&lease).await;
        self.check_one(before, (&lease, is_newest), &result, None).await;
        self.seen.acked += usize::from(result.is_ok());
    }

    async fn ack_all(&mut self, consumer: usize, before: &Shot) {
        let leases = self.held.split_off(self.held.len().saturating_sub(3));
        if leases.is_empty() {
            return;
        }
        let result = self.consumers[consumer].ack_all(&leases).await;
        let after = self.after().await;
        let is_newest =
            |lease: &&Lease| before.get(&lease.id) == Some(&Spot::Later(lease.until_ms, lease.state));
        let newest: BTreeSet<Id> = leases.iter().filter(is_newest).map(Lease::id).collect();
        let mut changed = before.clone();
        changed.retain(|id, _| !newest.contains(id));
        match result {
            Ok(lost) => {
                assert!(after == changed, "{before:?} became {after:?}");
                assert_eq!(lost.len() + newest.len(), leases.len());
                self.seen.acked += newest.len();
            }
            Err(error) => assert!(is_unknown(&error) && (after == changed || after == *before)),
        }
    }

    async fn retry(&mut self, consumer: usize, before: &Shot) {
        let Some((lease, is_newest)) = self.choose(before) else { return };
        let now = self.place.now();
        let result = self.consumers[consumer].retry(&lease, "no").await;
        let failures = lease.state.failures();
        let change = if failures == ATTEMPTS_MAX {
            Spot::Dead(lease.attempt())
        } else {
            // The pause is random: read from the rows and checked here.
            let waiting = State { is_leased: false, ..lease.state };
            let at = match self.after().await.get(&lease.id) {
                Some(Spot::Later(at, state)) if *state == waiting => *at,
                _ => now,
            };
            let longest = (BACKOFF_MS << (failures - 1)).min(4 * BACKOFF_MS);
            if let Ok(fate) = &result {
                assert!((longest / 2..=longest).contains(&(at - now)), "{} ms", at - now);
                assert!(matches!(fate, Fate::Again(_)));
            }
            Spot::Later(at, waiting)
        };
        if let (Spot::Dead(_), Ok(fate)) = (change, &result) {
            assert_eq!(*fate, Fate::Dead);
            self.seen.died += 1;
        }
        self.check_one(before, (&lease, is_newest), &result, Some(change)).await;
    }

    async fn release(&mut self, consumer: usize, before: &Shot) {
        let Some((lease, is_newest)) = self.choose(before) else { return };
        let result = self.consumers[consumer].release(&lease).await;
        let state = State { forgiven: lease.state.forgiven + 1, is_leased: false, ..lease.state };
        let spot = Spot::Later(self.place.now(), state);
        self.check_one(before, (&lease, is_newest), &result, Some(spot)).await;
    }

    async fn extend(&mut self, consumer: usize, before: &Shot) {
        let Some((mut lease, is_newest)) = self.choose(before) else { return };
        let old = lease.clone();
        let until = (self.place.now() + LEASE_MS).max(lease.until_ms);
        let result = self.consumers[consumer].extend(&mut lease).await;
        self.check_one(before, (&old, is_newest), &result, Some(Spot::Later(until, old.state))).await;
        if result.is_ok() {
            assert_eq!(lease.until_ms, until);
            self.held.push(lease);
        }
    }

    /// All dead letters, read without the fault that is meant for the next operation.
    async fn letters(&self, consumer: usize) -> Vec<DeadLetter> {
        let faults = std::mem::take(&mut *self.script.lock().unwrap());
        let letters = self.consumers[consumer].dead_letters(None, 256).await.unwrap();
        *self.script.lock().unwrap() = faults;
        letters
    }

    async fn requeue(&mut self, consumer: usize, before: &Shot) {
        let letters = self.letters(consumer).await;
        let dead = before.iter().filter(|(_, spot)| matches!(spot, Spot::Dead(_)));
        assert!(letters.iter().map(|letter| letter.id).eq(dead.map(|(id, _)| *id)));
        let Some(letter) = self.rng.choice(&letters) else { return };
        let result = self.consumers[consumer].requeue(&[letter.id]).await;
        let after = self.after().await;
        let mut changed = before.clone();
        let state = State { attempts: letter.attempts, forgiven: letter.attempts, is_leased: false };
        changed.insert(letter.id, Spot::Later(self.place.now(), state));
        match result {
            Ok(count) => assert!(count == 1 && after == changed),
            Err(error) => assert!(is_unknown(&error) && (after == changed || after == *before)),
        }
        self.seen.requeued += 1;
    }

    async fn purge(&mut self, consumer: usize, before: &Shot) {
        let letters = self.letters(consumer).await;
        let Some(letter) = self.rng.choice(&letters) else { return };
        // An item that is not dead is not affected.
        let alive = before.iter().find(|(_, spot)| !matches!(spot, Spot::Dead(_))).map(|(id, _)| *id);
        let ids: Vec<Id> = std::iter::once(letter.id).chain(alive).collect();
        let result = self.consumers[consumer].purge(&ids).await;
        let after = self.after().await;
        let mut changed = before.clone();
        changed.remove(&letter.id);
        match result {
            Ok(count) => assert!(count == 1 && after == changed),
            Err(error) => assert!(is_unknown(&error) && (after == changed || after == *before)),
        }
        self.seen.purged += before.len() - after.len();
    }

    /// Does all that is left, without faults.
    async fn empty(&mut self) {
        let queue = &self.consumers[0];
        loop {
            let left = shot(queue).await;
            if left.is_empty() {
                return;
            }
            let letters = queue.dead_letters(None, 256).await.unwrap();
            let ids: Vec<Id> = letters.iter().map(|letter| letter.id).collect();
            if !ids.is_empty() {
                assert_eq!(queue.requeue(&ids).await.unwrap(), ids.len());
            }
            self.place.pass(2 * LEASE_MS);
            let leases = queue.pop(256).await.unwrap();
            if !leases.is_empty() {
                assert_eq!(queue.ack_all(&leases).await.unwrap(), []);
                self.seen.acked += leases.len();
            }
            assert!(shot(queue).await.len() < left.len() || leases.is_empty(), "nothing moves: {left:?}");
        }
    }
}

fn is_unknown(error: &QueueError) -> bool {
    matches!(error, QueueError::Store(error @ Error::Retry(_)) if error.is_maybe_committed())
}
