//! The server stops, and dies, under load: every request is answered in time, nothing that was
//! acknowledged is lost, and service continues by itself.
//!
//! Owns the faults and what they may cost. Recovery is timed and printed; its bound is generous,
//! because other tests may share the machine.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::load::{Load, missing};
use crate::site::Site;
use crate::until::until;

/// The terminator's deadline, as its flag and as a time.
const DEADLINE: (&str, Duration) = ("1s", Duration::from_secs(1));

/// What a busy machine may add to a request.
const SLACK: Duration = Duration::from_secs(4);

/// The longest that services may need after the server is back; the goal is 2 s.
const RECOVERY_MAX: Duration = Duration::from_secs(10);

/// Requests served before, between and after faults.
const SERVED: u64 = 500;

fn seed() -> u64 {
    let given = std::env::var("FAULTS_SEED").ok().map(|seed| seed.parse().expect("FAULTS_SEED is a number"));
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("FAULTS_SEED={seed}");
    seed
}

/// Waits until each service answers a read and a write, and prints how long that took.
fn recovered(site: &Site, what: &str, since: Instant) {
    let id = format!("after {what}");
    let event = json!({"events": [{"id": id, "type": "A"}]});
    let text = json!({"id": id, "author": "1", "text": "t"});
    let entry = json!({"id": id, "text": "t"});
    let writes: [(&str, &str, &Value); 4] = [
        ("PUT", "/profiles/recovered", &entry),
        ("POST", "/feeds/recovered", &entry),
        ("POST", "/chats/recovered/messages", &text),
        ("POST", "/events", &event),
    ];
    for (method, path, body) in writes {
        until(&format!("{method} {path} after {what}"), || match site.send(method, path, body) {
            answer if answer.status < 300 => Ok(()),
            answer => Err(answer.text()),
        });
    }
    for path in ["/members/recovered", "/feeds/recovered", "/chats/recovered/messages", "/events?limit=1"] {
        until(&format!("{path} after {what}"), || match site.get(path) {
            answer if answer.status == 200 => Ok(()),
            answer => Err(answer.text()),
        });
    }
    let took = since.elapsed();
    eprintln!("{what}: all services answer {took:.1?} after the server is back");
    assert!(took < RECOVERY_MAX, "{what}: {took:?}");
}

#[test]
fn a_server_that_stops_or_dies_costs_no_acknowledged_write_and_no_request_its_deadline() {
    let Some(mut cluster) = Cluster::start() else { return };
    let seed = seed();
    let site = Site::start(&cluster.store(), 2, DEADLINE.0);
    let load = Load::start(site.terminator.http, seed);
    load.wait_more(SERVED);

    cluster.stop();
    let unready = site.wait_ready(503).expect("there are services with data");
    cluster.resume();
    recovered(&site, "SIGSTOP", Instant::now());
    let reasons = unready.json();
    assert!(reasons.to_string().contains("fdbcli"), "the remedy is told: {reasons}");
    site.wait_ready(200);
    load.wait_more(SERVED);

    cluster.kill();
    site.wait_ready(503);
    cluster.restart();
    cluster.wait_available();
    recovered(&site, "SIGKILL", Instant::now());
    site.wait_ready(200);
    load.wait_more(SERVED);

    let seen = load.stop();
    let (statuses, slowest, count) = (&seen.statuses, seen.slowest, seen.acknowledged());
    eprintln!("{count} writes acknowledged, statuses {statuses:?}, slowest request {slowest:.1?}");
    assert!(
        seen.faults.is_empty(),
        "{} faults: {:#?}",
        seen.faults.len(),
        &seen.faults[..seen.faults.len().min(9)]
    );
    assert!(slowest < DEADLINE.1 + SLACK, "{slowest:?}");
    assert!(statuses.keys().any(|status| *status >= 500), "the faults met no request: {statuses:?}");
    let lost = missing(site.terminator.http, &seen);
    assert!(lost.is_empty(), "{} of {count} acknowledged writes are lost: {lost:#?}", lost.len());
    for instance in site.data_instances() {
        let stats = site.admin(instance, "/stats").json();
        for time in ["store.last_read_version_seconds", "store.last_commit_seconds"] {
            assert!(stats[time].as_u64() > Some(0), "{instance} {time}: {stats}");
        }
    }
    site.end();
}
