//! A task of every second in three processes on a cluster; the one that ran it is killed.
//!
//! The processes are this test binary started again (`child_runs_until_it_is_killed`).

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use store::layers::Clock;
use store::{Network, Store, Subspace};

use super::{instance, record, recorded};
use crate::testing::run;

/// The child's variables; without them it does nothing.
const ADDRESS: &str = "SCHEDULE_ADDRESS";
const PLACE: &str = "SCHEDULE_PLACE";

/// Slots to watch.
const SLOTS: usize = 10;

fn keys(place: &str) -> Subspace {
    Subspace::from(("schedule-processes", place))
}

fn child(address: &str, place: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "schedule::tests::processes::child_runs_until_it_is_killed", "--nocapture"])
        .envs([(ADDRESS, address), (PLACE, place)])
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn child_runs_until_it_is_killed() {
    let (Ok(address), Ok(place)) = (std::env::var(ADDRESS), std::env::var(PLACE)) else { return };
    let _network = Network::new();
    let store = Store::open(&address.parse().unwrap()).unwrap();
    let keys = keys(&place);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    runtime.block_on(async {
        let (own, of) = (store.clone(), keys.clone());
        let _schedule = instance(&store, &keys, "1s", &Clock::wall(), move |run| {
            let (store, keys) = (own.clone(), of.clone());
            async move {
                record(&store, &keys, &run).await?;
                let pid = u64::from(std::process::id());
                store
                    .run(&store::RunOptions::default(), async |tx| {
                        tx.set(&keys.pack(&("last",)), &pid.to_le_bytes())
                    })
                    .await?;
                Ok(())
            }
        });
        std::future::pending::<()>().await;
    });
}

#[test]
fn three_processes_run_each_slot_once_although_the_one_that_ran_it_is_killed() {
    let Ok(file) = std::env::var("FDB_CLUSTER_FILE") else {
        println!("SKIPPED: FDB_CLUSTER_FILE is not set");
        return;
    };
    let address = format!("fdb:{file}");
    let _network = Network::new();
    let store = match Store::open(&address.parse().unwrap()) {
        Ok(store) => store,
        Err(error @ store::OpenError::FeatureMissing { .. }) => {
            println!("SKIPPED: {error}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let place = fastrand::u64(..).to_string();
    let keys = keys(&place);
    let mut children: BTreeMap<u32, Child> = BTreeMap::new();
    let start = |children: &mut BTreeMap<u32, Child>| {
        let child = child(&address, &place);
        children.insert(child.id(), child);
    };
    (0..3).for_each(|_| start(&mut children));
    let ran = run(async {
        let mut look = tokio::time::interval(Duration::from_millis(20));
        let mut killed_at = 0;
        loop {
            look.tick().await;
            let ran = recorded(&store, &keys).await;
            if ran.len() >= SLOTS {
                return ran;
            }
            if ran.len() % 3 == 2 && ran.len() > killed_at {
                killed_at = ran.len();
                let last = store.get(&keys.pack(&("last",))).await.unwrap();
                let last = last.map_or(0, |pid| u64::from_le_bytes(pid[..].try_into().unwrap()));
                if let Some(mut runner) = u32::try_from(last).ok().and_then(|pid| children.remove(&pid)) {
                    runner.kill().unwrap();
                    runner.wait().unwrap();
                    start(&mut children);
                }
            }
        }
    });
    for mut child in children.into_values() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let all = store::Range::subspace(&keys);
    let clear = async |tx: &store::Transaction| tx.clear_range(&all.begin.key, &all.end.key);
    run(store.run(&store::RunOptions::default(), clear)).unwrap();
    println!("{ran:?}");
    assert!(ran.values().all(|runs| *runs == 1), "{ran:?}");
}
