//! All rows of a queue at one moment, read without the queue's own code for reading.
//!
//! Invariant, checked with every reading: an item is in exactly one list and has a body, and the
//! lengths are right.

use std::collections::BTreeMap;

use super::super::{Lengths, Queue, keys::State};
use crate::{KeyValue, Range, RunOptions, Snapshot, Subspace, layers::Id, tuple::Versionstamp};

/// Where an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spot {
    Ready(State),
    Later(u64, State),
    Dead(u32),
}

/// Every item with its place.
pub(super) type Shot = BTreeMap<Id, Spot>;

pub(super) async fn shot(queue: &Queue) -> Shot {
    let all = Subspace::from("queue");
    let read = async |snapshot: Snapshot<'_>| snapshot.range(Range::subspace(&all)).await;
    let rows = queue.store.read(&RunOptions::default(), read).await.unwrap();
    let (mut bodies, mut spots) = (Vec::new(), Shot::new());
    let id = |row: &KeyValue| Id::of_key(&row.key).unwrap();
    for row in &rows {
        let part = |list: i64| all.subspace(&(list,)).is_start_of(&row.key);
        let spot = if part(0) {
            bodies.push(id(row));
            continue;
        } else if part(1) {
            Spot::Ready(State::parse(&row.value))
        } else if part(2) {
            let (at, _) = all.subspace(&(2,)).unpack::<(u64, Versionstamp)>(&row.key).unwrap();
            Spot::Later(at, State::parse(&row.value))
        } else if part(3) {
            Spot::Dead(u32::from_le_bytes(*row.value[8..].first_chunk().unwrap()))
        } else {
            continue;
        };
        assert_eq!(spots.insert(id(row), spot), None, "an item is in two lists");
    }
    assert!(spots.keys().eq(&bodies), "{spots:?} have the bodies {bodies:?}");
    assert_eq!(queue.lengths().await.unwrap(), lengths(&spots));
    spots
}

fn lengths(shot: &Shot) -> Lengths {
    let mut lengths = Lengths::default();
    for spot in shot.values() {
        match spot {
            Spot::Ready(_) => lengths.ready += 1,
            Spot::Later(..) => lengths.later += 1,
            Spot::Dead(_) => lengths.dead += 1,
        }
    }
    lengths
}
