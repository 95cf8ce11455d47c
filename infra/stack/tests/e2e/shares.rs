//! Several terminators and instances: each instance gets its share, nothing is handled twice,
//! `weight` and `limit` hold.

use std::collections::HashSet;

use crate::instance::{Instance, Treat};
use crate::load::Load;
use crate::terminator::Terminator;
use crate::until::until;
use crate::wire::Correlation;

/// Requests to each of the three terminators: so many that a deviation of 20 % is not chance.
const REQUESTS: u64 = 1500;
/// Clients of each terminator.
const CLIENTS: usize = 8;

fn share_path(number: u64) -> String {
    format!("/share/{number}")
}

fn all_handled(instances: &[Instance]) -> Vec<Correlation> {
    instances.iter().flat_map(Instance::handled).collect()
}

/// Sends `REQUESTS` to every terminator at once; all are answered 200.
fn load(terminators: &[Terminator]) {
    let loads: Vec<Load> =
        terminators.iter().map(|each| Load::start(each.http, CLIENTS, REQUESTS, share_path)).collect();
    for load in loads {
        let tally = load.finish();
        assert_eq!((tally.of(200), tally.errors), (REQUESTS, 0), "{tally:?}");
    }
}

fn wait_weights(terminators: &[Terminator], instance: &str, weight: u64) {
    for terminator in terminators {
        until(&format!("{instance} has weight {weight} in /peers"), || {
            let peers = terminator.peers("share");
            match peers.iter().any(|peer| peer["instance"] == instance && peer["weight"] == weight) {
                true => Ok(()),
                false => Err(format!("{peers:?}")),
            }
        });
    }
}

#[test]
fn three_terminators_share_out_to_three_instances_and_weight_0_ends_it() {
    let terminators: Vec<Terminator> = (0..3).map(|_| Terminator::start(&["--deadline", "20s"])).collect();
    let all: Vec<&Terminator> = terminators.iter().collect();
    let mut instances: Vec<Instance> = ["a", "b", "c"]
        .map(|name| Instance::dial(["share", name], &["GET /share/{n}"], [100, 0], Treat::Answer, &all))
        .into();
    for terminator in &terminators {
        terminator.wait_peers("share", 3);
    }

    load(&terminators);
    let total = 3 * REQUESTS;
    let shares: Vec<u64> = instances.iter().map(|instance| instance.handled().len() as u64).collect();
    assert!(
        shares.iter().all(|share| (total * 4 / 15..=total * 6 / 15).contains(share)),
        "{shares:?} of {total}: each a third, ±20 %"
    );
    let handled = all_handled(&instances);
    let distinct: HashSet<_> = handled.iter().collect();
    assert_eq!((handled.len() as u64, distinct.len() as u64), (total, total), "every request once");

    instances[0].hello(0, 0);
    wait_weights(&terminators, "a", 0);
    load(&terminators);
    assert_eq!(instances[0].handled().len() as u64, shares[0], "weight 0: no new requests");
    assert_eq!(all_handled(&instances).len() as u64, 2 * total);

    for (instance, name) in instances[1..].iter_mut().zip(["b", "c"]) {
        instance.hello(0, 0);
        wait_weights(&terminators, name, 0);
    }
    let refused = terminators[0].get("/share/1");
    assert_eq!((refused.status, refused.header("content-type")), (503, Some("application/problem+json")));

    instances[0].hello(100, 0);
    wait_weights(&terminators, "a", 100);
    assert_eq!(terminators[0].get("/share/1").status, 200, "weight 100 again: it serves again");
}

#[test]
fn unequal_weights_give_unequal_shares() {
    let terminator = Terminator::start(&["--deadline", "20s"]);
    let instances = [("light", 100), ("heavy", 300)].map(|(name, weight)| {
        Instance::dial(["share", name], &["GET /share/{n}"], [weight, 0], Treat::Answer, &[&terminator])
    });
    terminator.wait_peers("share", 2);
    let tally = Load::start(terminator.http, CLIENTS, 2 * REQUESTS, share_path).finish();
    assert_eq!(tally.of(200), 2 * REQUESTS, "{tally:?}");
    let [light, heavy] = instances.map(|instance| instance.handled().len());
    assert!(heavy > light + light / 2, "the heavy one got {heavy}, the light one {light}");
    assert!(light > 0);
}

fn limit_is_kept(workers: &str) {
    let terminator = Terminator::start(&["--deadline", "20s", "--workers", workers]);
    let instance = Instance::dial(["share", "a"], &["GET /share/{n}"], [100, 2], Treat::Hold, &[&terminator]);
    terminator.wait_known("share", workers.parse().unwrap());

    let load = Load::start(terminator.http, 6, 6, share_path);
    load.wait_all(4);
    assert_eq!((instance.held(), instance.handled().len()), (2, 2), "two at once, as its hello says");
    instance.release();
    let tally = load.finish();
    assert_eq!((tally.of(200), tally.of(503), tally.errors), (2, 4, 0), "{tally:?}");
    assert!(tally.samples[&503].contains("limit"), "the reason names the limit: {tally:?}");
    assert_eq!(terminator.get("/share/7").status, 200, "below the limit again");
}

#[test]
fn limit_is_kept_by_one_worker() {
    limit_is_kept("1");
}

#[test]
fn limit_is_kept_by_two_workers() {
    limit_is_kept("2");
}
