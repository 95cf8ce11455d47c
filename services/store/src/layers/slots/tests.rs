//! Slots in virtual time: instances claim, run, stand still and die at random.

use std::{collections::BTreeMap, time::Duration};

use super::{Claim, Run, RunError, Slots};
use crate::{Store, Subspace, layers::Backoff};

const LEASE: Duration = Duration::from_millis(1_000);
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(500), longest: Duration::from_millis(4_000) };

fn slots() -> (Slots, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let address = format!("embedded:{}?durability=buffered", dir.path().display());
    let store = Store::open(&address.parse().unwrap()).unwrap();
    (Slots::new(&store, &Subspace::from("slots")), dir)
}

async fn claim(slots: &Slots, due: u64, now: u64) -> Claim {
    slots.claim("task", due, now, LEASE).await.unwrap()
}

async fn mine(slots: &Slots, due: u64, now: u64) -> Run {
    match claim(slots, due, now).await {
        Claim::Mine(run) => run,
        other => panic!("slot {due} at {now}: {other:?}"),
    }
}

#[tokio::test]
async fn a_slot_is_run_once_and_a_new_task_waits_for_its_next_slot() {
    let (slots, _dir) = slots();
    assert_eq!(claim(&slots, 5_000, 5_100).await, Claim::Done);
    let run = mine(&slots, 6_000, 6_001).await;
    assert_eq!((run.slot_ms, run.previous_ms, run.fence, run.until_ms), (6_000, 5_000, 1, 7_001));
    assert_eq!(claim(&slots, 6_000, 6_002).await, Claim::Busy { until_ms: 7_001 });
    slots.succeed(&run).await.unwrap();
    assert_eq!(claim(&slots, 6_000, 6_003).await, Claim::Done);
    // A clock that is behind, and then the slots that passed while no instance ran.
    assert_eq!(claim(&slots, 5_000, 5_900).await, Claim::Done);
    let run = mine(&slots, 9_000, 9_500).await;
    assert_eq!((run.slot_ms, run.previous_ms), (9_000, 6_000));
}

#[tokio::test]
async fn runs_do_not_overlap_and_a_dead_runner_s_slot_is_run_again() {
    let (slots, _dir) = slots();
    claim(&slots, 0, 0).await;
    let mut dead = mine(&slots, 1_000, 1_000).await;
    slots.renew(&mut dead, 1_900, LEASE).await.unwrap();
    assert_eq!(claim(&slots, 2_000, 2_000).await, Claim::Busy { until_ms: 2_900 });
    let next = mine(&slots, 1_000, 2_900).await;
    assert_eq!((next.slot_ms, next.previous_ms, next.fence), (1_000, 1_000, 2));
    // The first runner only stood still.
    let lost = |result: Result<(), RunError>| assert!(matches!(result, Err(RunError::Lost { fence: 1 })));
    lost(slots.renew(&mut dead, 2_950, LEASE).await);
    lost(slots.succeed(&dead).await);
    lost(slots.fail(&dead, 2_950, BACKOFF).await.map(drop));
    lost(slots.release(&dead).await);
    for (run, effect) in [(&dead, None), (&next, Some(&b"2"[..]))] {
        let write = slots.store.run(&slots.run, async |tx| {
            run.check_in(tx).await?;
            Ok::<_, RunError>(tx.set(b"effect", run.fence.to_string().as_bytes())?)
        });
        assert_eq!(write.await.is_ok(), effect.is_some());
        assert_eq!(slots.store.get(b"effect").await.unwrap().as_deref(), effect);
    }
    slots.release(&next).await.unwrap();
    assert_eq!(mine(&slots, 2_000, 2_950).await.slot_ms, 2_000);
}

#[tokio::test]
async fn failures_are_tried_again_after_growing_pauses_and_a_success_ends_them() {
    let (slots, _dir) = slots();
    claim(&slots, 0, 0).await;
    let mut now = 1_000;
    for longest in [500, 1_000, 2_000, 4_000, 4_000] {
        let run = mine(&slots, 1_000, now).await;
        assert_eq!(run.slot_ms, 1_000);
        let pause = slots.fail(&run, now, BACKOFF).await.unwrap();
        assert!(pause >= Duration::from_millis(longest / 2) && pause <= Duration::from_millis(longest));
        let until_ms = now + crate::layers::clock::as_ms(pause);
        assert_eq!(claim(&slots, 1_000, until_ms - 1).await, Claim::Busy { until_ms });
        now = until_ms;
    }
    let run = mine(&slots, now, now).await;
    slots.succeed(&run).await.unwrap();
    let run = mine(&slots, now + 1, now + 1).await;
    assert!(slots.fail(&run, now, BACKOFF).await.unwrap() <= BACKOFF.first);
}

/// Three instances with clocks that differ by less than a lease, over 300 slots of a second.
#[tokio::test]
async fn every_slot_is_run_once_although_instances_die() {
    let seed = std::env::var("STORE_SEED").ok().map(|seed| seed.parse().expect("STORE_SEED is a number"));
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("STORE_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let (slots, _dir) = slots();
    let (mut begun, mut deaths) = (BTreeMap::<u64, u32>::new(), 0);
    // What each instance runs, and when it ends or, for one that died, is replaced.
    let mut running: [Option<(Run, u64, bool)>; 3] = [None, None, None];
    claim(&slots, 0, 0).await;
    for now in (0..300_000).step_by(50) {
        for instance in rng.choose_multiple(0..3, 3) {
            let skewed = now + 20 * instance as u64;
            match running[instance].take() {
                Some((run, until, dies)) if skewed < until => running[instance] = Some((run, until, dies)),
                Some((run, _, false)) => slots.succeed(&run).await.unwrap(),
                Some(_) => {}
                None => {
                    let due = skewed / 1_000 * 1_000;
                    if let Claim::Mine(run) = claim(&slots, due, skewed).await {
                        let newest = begun.keys().last().copied();
                        assert!(newest.is_none_or(|newest| run.slot_ms >= newest), "a slot came back");
                        assert!(running.iter().flatten().all(|(_, until, dies)| *dies || *until <= now));
                        *begun.entry(run.slot_ms).or_default() += 1;
                        let dies = rng.u32(..20) == 0;
                        deaths += u32::from(dies);
                        // A dead instance is back after its lease.
                        let until = skewed + if dies { 1_500 } else { rng.u64(..400) };
                        running[instance] = Some((run, until, dies));
                    }
                }
            }
        }
    }
    // A runner that dies is replaced within the slot's own length or runs the next slot.
    let again: u32 = begun.values().map(|runs| runs - 1).sum();
    println!("{} slots begun, {deaths} deaths, {again} run again", begun.len());
    assert!(deaths > 0 && again <= deaths, "{again} runs more than slots, {deaths} deaths");
    let missed = 299 - u32::try_from(begun.len()).unwrap();
    assert!(missed <= deaths, "{missed} slots were missed, {deaths} deaths");
}
