//! A task of every second in three instances, in real time, on one embedded store.

use std::cell::Cell;
use std::rc::Rc;

use store::Subspace;
use store::layers::Clock;

use super::{embedded, instance, record, recorded};
use crate::testing::run;

/// Slots to watch.
const SLOTS: usize = 6;

#[test]
fn a_task_of_every_second_runs_once_a_slot_although_the_one_that_ran_it_is_killed() {
    run(async {
        let (store, _dir) = embedded();
        let keys = Subspace::from("test");
        let last = Rc::new(Cell::new(None));
        let start = |number: usize| {
            let (own, last) = (store.clone(), Rc::clone(&last));
            let of = keys.clone();
            instance(&store, &keys, "1s", &Clock::wall(), move |run| {
                let (store, keys, last) = (own.clone(), of.clone(), Rc::clone(&last));
                async move {
                    record(&store, &keys, &run).await?;
                    last.set(Some(number));
                    Ok(())
                }
            })
        };
        let mut instances: Vec<_> = (0..3).map(start).collect();
        let mut look = tokio::time::interval(std::time::Duration::from_millis(10));
        let mut killed = 0;
        loop {
            look.tick().await;
            let ran = recorded(&store, &keys).await;
            if ran.len() == SLOTS {
                break;
            }
            if let Some(runner) = last.take()
                && ran.len() % 2 == 0
            {
                instances[runner] = start(runner);
                killed += 1;
            }
        }
        let ran = recorded(&store, &keys).await;
        println!("{killed} killed: {ran:?}");
        assert!(killed > 0 && ran.values().all(|runs| *runs == 1), "{ran:?}");
        assert!(ran.keys().all(|slot| slot % 1_000 == 0), "{ran:?}");
    });
}
