//! A terminator without a proxy is replaced again and again by handover, under the same load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::files::Site;
use crate::http::get;
use crate::load::{Load, Planned, ask_from};
use crate::process::Process;
use crate::proxies::{CLIENT, failures, mixed, seed};
use crate::site::{service, terminator_with};
use crate::until::until;

/// How often the terminator is replaced.
const HANDOVERS: usize = 20;

/// Requests between two handovers: half a second's worth.
const BETWEEN: u64 = 1_000;

/// How long a poll waits: past the delay of a drain, within its deadline.
const POLL_S: u64 = 3;

#[test]
fn many_handovers_in_a_row_fail_no_request() {
    let site = Site::new();
    let path = site.dir.path().join("handover.sock");
    let start = || terminator_with(&site, 1, &["--handover", path.to_str().unwrap(), "--settle", "20s"]);
    let mut old = start();
    let _services = ["profile", "chat"].map(|name| service(&site, name));
    let [http, admin] = site.terminators[0];
    until("the first is ready", || {
        let ready = get(admin, "/ready").json();
        if ready["services_connected"] == 2 { Ok(()) } else { Err(ready.to_string()) }
    });
    let profile = Planned::new("PUT", "/profiles/1", json!({"name": "A"}).to_string());
    assert!(matches!(ask_from(CLIENT.into(), http, &profile, "").status, 200..=204));

    let stop = Arc::<AtomicBool>::default();
    let polls = [1, 2].map(|room| {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || {
            let poll =
                Planned::new("GET", &format!("/chats/quiet{room}/updates?wait={POLL_S}"), String::new());
            let mut statuses = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                statuses.push(ask_from(CLIENT.into(), http, &poll, "").status);
            }
            statuses
        })
    });
    let load = Load::start(http, mixed(seed()));
    let mut left: Vec<Process> = Vec::new();
    for _ in 0..HANDOVERS {
        load.wait_more(BETWEEN);
        let new = start();
        left.push(std::mem::replace(&mut old, new));
    }
    load.wait_more(BETWEEN);
    let tally = load.stop();
    stop.store(true, Ordering::Relaxed);
    let polls = polls.map(|poll| poll.join().unwrap());
    eprintln!("{HANDOVERS} handovers: {tally:?}, long polls {polls:?}");
    assert_eq!((failures(&tally, "GET"), failures(&tally, "POST")), (0, 0), "{tally:?}");
    assert!(polls.iter().flatten().all(|status| matches!(status, 200 | 204)), "long polls: {polls:?}");
    for mut process in left {
        assert_eq!(process.wait().code(), Some(0), "{:?}", process.lines());
    }
}
