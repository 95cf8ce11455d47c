//! What clients see through nginx and haproxy: answers, their own address, long polls, and no
//! failure while a terminator stops, starts or dies.

use std::sync::mpsc;

use rustix::process::Signal;
use serde_json::json;

use crate::echo;
use crate::files::Site;
use crate::http::get;
use crate::load::{Answer, Load, Planned, Tally, ask_from};
use crate::site::{Front, Running};
use crate::until::until;

/// A client that is not the proxy, and not in the example's trusted-proxy.
pub(crate) const CLIENT: [u8; 4] = [127, 0, 0, 9];

/// One request in this many is a POST.
const POST_EVERY: u64 = 10;

/// How long a poll waits that is open during a restart: past --drain-delay, within
/// --drain-deadline.
const POLL_S: u64 = 8;

/// More deliveries of one request than any proxy makes.
const DELIVERIES_MAX: usize = 64;

/// Requests before, during and after each event: a second's worth.
pub(crate) const SECOND: u64 = 2_000;

pub(crate) fn plan(method: &'static str, path: &str) -> Planned {
    Planned::new(method, path, String::new())
}

fn ask(site: &Site, planned: &Planned, headers: &str) -> Answer {
    ask_from(CLIENT.into(), site.front, planned, headers)
}

/// Mostly reads of one profile, and messages with ids that none other has, spread over
/// conversations by `seed`.
pub(crate) fn mixed(seed: u64) -> impl Fn(u64) -> Planned + Send + 'static {
    move |number| {
        if number % POST_EVERY != 0 {
            return plan("GET", "/profiles/1");
        }
        let room = fastrand::Rng::with_seed(seed ^ number).u64(..50);
        let body = json!({"id": format!("{seed}-{number}"), "author": "1", "text": "Hi"}).to_string();
        Planned { method: "POST", path: format!("/chats/{room}/messages"), body }
    }
}

pub(crate) fn seed() -> u64 {
    let given = std::env::var("DEPLOY_SEED").ok().map(|seed| seed.parse().expect("DEPLOY_SEED is a number"));
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("DEPLOY_SEED={seed}");
    seed
}

/// How many ended other than a GET in 200 and a POST in 201. A POST that was sent twice ends in
/// 200.
pub(crate) fn failures(tally: &Tally, method: &str) -> u64 {
    let good = |(of, outcome): &(&str, String)| {
        *of != method || *outcome == if method == "GET" { "200" } else { "201" }
    };
    tally.iter().filter(|(key, _)| !good(key)).map(|(_, count)| count).sum()
}

/// A running site with the profile that the load reads.
fn start(front: Front) -> Option<Running> {
    let running = Running::start(front)?;
    let profile =
        Planned { method: "PUT", path: "/profiles/1".to_owned(), body: "{\"name\":\"A\"}".to_owned() };
    let put = ask(&running.site, &profile, "");
    assert!(matches!(put.status, 200..=204), "{}: {}", put.status, put.body);
    Some(running)
}

fn addresses_and_long_polls(front: Front) {
    let Some(running) = start(front) else { return };
    let site = &running.site;
    assert_eq!(ask(site, &plan("GET", "/profiles/1"), "").status, 200);
    let spread = [1, 2].map(|number| running.answered(number));
    for _ in 0..20 {
        assert_eq!(ask(site, &plan("GET", "/profiles/1"), "").status, 200);
    }
    let both = [1, 2].map(|number| running.answered(number) - spread[number - 1]);
    assert!(both.iter().all(|count| *count >= 5), "each terminator has a share: {both:?}");

    let _echo = [1, 2].map(|number| echo::start(site, number));
    let forged = "x-forwarded-for: 10.1.2.3\r\nforwarded: for=10.1.2.3\r\nx-real-ip: 10.1.2.3\r\n";
    let seen = ask(site, &plan("GET", "/who/1"), forged);
    assert_eq!((seen.status, seen.body.as_str()), (200, "127.0.0.9, 127.0.0.1"));

    let large = Planned { method: "POST", path: "/who/1".to_owned(), body: "x".repeat(1_100_000) };
    assert_eq!(ask(site, &Planned { body: "x".repeat(900_000), ..large.clone() }, "").status, 200);
    assert_eq!(ask(site, &large, "").status, 413);

    // This conversation stays quiet: the service answers after its 30 s, past every default of a
    // proxy's deadline.
    let poll = ask(site, &plan("GET", "/chats/quiet/updates"), "");
    eprintln!("{front:?}: long poll {} {}", poll.status, poll.body);
    assert!(matches!(poll.status, 200 | 204), "{}: {}", poll.status, poll.body);
}

/// Kills the terminator that has a request in hand. Brings the client's status and how often the
/// request was delivered.
fn kill_in_hand(front: Front, method: &'static str) -> Option<(u16, usize)> {
    let mut running = start(front)?;
    let (delivered, deliveries) = mpsc::sync_channel(DELIVERIES_MAX);
    let _holders = [1, 2].map(|number| echo::hold_first(&running.site, number, delivered.clone()));
    let http = running.site.front;
    let body = if method == "POST" { "x" } else { "" };
    let request = Planned { method, path: "/who/1".to_owned(), body: body.to_owned() };
    let client = std::thread::spawn(move || ask_from(CLIENT.into(), http, &request, "").status);
    let number = deliveries.recv().unwrap();
    running.terminators[number - 1].kill();
    let status = client.join().unwrap();
    let count = 1 + deliveries.try_iter().count();
    eprintln!("{front:?}: {method} in hand of a killed terminator: {status}, delivered {count} times");
    Some((status, count))
}

/// SIGTERM, end and start of one terminator after the other under load, until each has a share
/// again. Two long polls are open when it begins.
fn restart(front: Front) -> Option<Tally> {
    let seed = seed();
    let mut running = start(front)?;
    let http = running.site.front;
    let polls = [1, 2].map(|count| {
        let path = format!("/chats/quiet{count}/updates?wait={POLL_S}");
        let poll = std::thread::spawn(move || ask_from(CLIENT.into(), http, &plan("GET", &path), "").status);
        until(&format!("{count} long polls are held"), || match held(&running.site) {
            held if held == count => Ok(()),
            held => Err(held.to_string()),
        });
        poll
    });
    let load = Load::start(http, mixed(seed));
    load.wait_more(SECOND);
    for number in [1, 2] {
        assert!(running.answered(number) > 0, "terminator {number} has a share");
        let leaving = &mut running.terminators[number - 1];
        leaving.signal(Signal::TERM);
        let status = leaving.wait();
        assert_eq!(status.code(), Some(0), "{:?}", leaving.lines());
        load.wait_more(SECOND);
        running.restart(number);
        // nginx returns to it after fail_timeout, haproxy after two checks.
        until(&format!("terminator {number} has a share again"), || match running.answered(number) {
            0 => Err("no request".to_owned()),
            _ => Ok(()),
        });
        load.wait_more(SECOND);
    }
    let tally = load.stop();
    let polls = polls.map(|poll| poll.join().unwrap());
    eprintln!("{front:?}, SIGTERM and start of both: {tally:?}, long polls {polls:?}");
    assert!(polls.iter().all(|status| matches!(status, 200 | 204)), "long polls: {polls:?}");
    Some(tally)
}

/// Requests that chat has in hand, from both terminators.
fn held(site: &Site) -> u64 {
    let of = |[_, admin]: [_; 2]| {
        let peers = get(admin, "/peers").json();
        let chat = peers.as_array().unwrap().iter().find(|peer| peer["service"] == "chat").cloned();
        chat.and_then(|peer| peer["in_flight"].as_u64()).unwrap_or(0)
    };
    site.terminators.map(of).iter().sum()
}

/// SIGKILL of terminator 1 under load.
fn kill(front: Front) -> Option<Tally> {
    let seed = seed();
    let mut running = start(front)?;
    let load = Load::start(running.site.front, mixed(seed));
    load.wait_more(SECOND);
    assert!(running.answered(1) > 0, "terminator 1 has a share");
    running.terminators[0].kill();
    load.wait_more(2 * SECOND);
    let tally = load.stop();
    eprintln!("{front:?}, SIGKILL: {tally:?}");
    // A POST in hand of the killed terminator fails; none is sent a second time.
    assert_eq!(tally.get(&("POST", "200".to_owned())), None, "{tally:?}");
    Some(tally)
}

#[test]
fn nginx_passes_the_clients_address_large_bodies_and_long_polls() {
    addresses_and_long_polls(Front::Nginx);
}

#[test]
fn haproxy_passes_the_clients_address_large_bodies_and_long_polls() {
    addresses_and_long_polls(Front::Haproxy);
}

#[test]
fn a_rolling_restart_of_terminators_behind_nginx_loses_nothing() {
    let Some(tally) = restart(Front::Nginx) else { return };
    assert_eq!((failures(&tally, "GET"), failures(&tally, "POST")), (0, 0), "{tally:?}");
}

#[test]
fn a_rolling_restart_of_terminators_behind_haproxy_loses_nothing() {
    let Some(tally) = restart(Front::Haproxy) else { return };
    assert_eq!((failures(&tally, "GET"), failures(&tally, "POST")), (0, 0), "{tally:?}");
}

#[test]
fn a_killed_terminator_behind_nginx_loses_no_get() {
    let Some(tally) = kill(Front::Nginx) else { return };
    assert_eq!(failures(&tally, "GET"), 0, "{tally:?}");
}

#[test]
fn a_killed_terminator_behind_haproxy_loses_no_get() {
    let Some(tally) = kill(Front::Haproxy) else { return };
    assert_eq!(failures(&tally, "GET"), 0, "{tally:?}");
}

#[test]
fn a_get_in_hand_of_a_killed_terminator_goes_to_the_other_one() {
    for front in [Front::Nginx, Front::Haproxy] {
        let Some(outcome) = kill_in_hand(front, "GET") else { continue };
        assert_eq!(outcome, (200, 2), "{front:?}");
    }
}

#[test]
fn a_post_in_hand_of_a_killed_terminator_fails_and_is_not_sent_twice() {
    for front in [Front::Nginx, Front::Haproxy] {
        let Some(outcome) = kill_in_hand(front, "POST") else { continue };
        assert_eq!(outcome, (502, 1), "{front:?}");
    }
}
