//! Joining, leaving, and all that looks like leaving and is not.

use bytes::Bytes;

use super::*;
use crate::document::{Entry, Origin, Revision};

const A: &str = "tcp://10.0.0.1:5555";
const B: &str = "tcp://10.0.0.2:5555";

/// The records of a bus: instances with their URLs.
fn records(listeners: &[(&str, &[&str])]) -> Plan {
    let mut plan = Plan::default();
    for (name, urls) in listeners {
        let urls = urls.iter().map(|url| (*url).to_owned()).collect();
        let listener = Listener { urls, role: "terminator".to_owned(), version: "1".to_owned() };
        let entry = Entry {
            name: format!("buses/{name}"),
            document: Ok(Bytes::from(serde_json::to_vec(&listener).expect("is plain data"))),
            revision: Revision(1),
            created: Revision(1),
            lease: 7,
            origin: Origin::Etcd,
        };
        assert!(plan.put(entry, 0));
    }
    plan
}

fn membership() -> Membership {
    Membership::new("front", Some("me"), |url| url.starts_with("tcp:"))
}

fn dial(url: &str) -> Action {
    Action::Dial(url.to_owned())
}

fn undial(url: &str) -> Action {
    Action::Undial(url.to_owned())
}

#[test]
fn listeners_of_the_bus_are_dialled_once_and_not_ones_own() {
    let (mut members, now) = (membership(), Instant::now());
    let all = records(&[
        ("front/a", &["ipc:///run/a.sock", A]),
        ("front/b", &[B]),
        ("front/b-again", &[B]),
        ("front/me", &["tcp://10.0.0.9:1"]),
        ("front/far", &["ws://10.0.0.3:1"]),
        ("upstream/c", &["tcp://10.0.0.4:1"]),
    ]);
    assert_eq!(members.update(&all, now), [dial(A), dial(B)]);
    assert_eq!(members.ignored(), 1);
    assert_eq!(members.update(&all, now), []);
}

#[test]
fn a_record_that_vanishes_while_its_connection_works_changes_nothing() {
    let (mut members, now) = (membership(), Instant::now());
    members.update(&records(&[("front/a", &[A])]), now);
    members.handle_connection(A, true, now);
    assert_eq!(members.update(&Plan::default(), now), []);
    assert_eq!(members.next_timeout(), None);
    assert_eq!(members.handle_timeout(now + 1000 * LINGER), []);
    assert_eq!(members.dialled().collect::<Vec<_>>(), [(A, false)]);

    // Then the connection ends as well.
    let gone = now + 2000 * LINGER;
    members.handle_connection(A, false, gone);
    assert_eq!(members.next_timeout(), Some(gone + LINGER));
    assert_eq!(members.handle_timeout(gone + LINGER - Duration::from_millis(1)), []);
    assert_eq!(members.handle_timeout(gone + LINGER), [undial(A)]);
    assert_eq!((members.next_timeout(), members.dialled().count()), (None, 0));
}

#[test]
fn a_connection_that_ends_while_its_record_stays_is_dialled_for_ever() {
    let (mut members, now) = (membership(), Instant::now());
    members.update(&records(&[("front/a", &[A])]), now);
    members.handle_connection(A, true, now);
    members.handle_connection(A, false, now);
    assert_eq!(members.next_timeout(), None);
    assert_eq!(members.handle_timeout(now + 1000 * LINGER), []);
}

#[test]
fn a_flapping_record_causes_no_action() {
    let (mut members, start) = (membership(), Instant::now());
    let there = records(&[("front/a", &[A])]);
    assert_eq!(members.update(&there, start), [dial(A)]);
    for turn in 1..100_u32 {
        let now = start + turn * (LINGER - Duration::from_millis(1));
        let records = if turn % 2 == 0 { &there } else { &Plan::default() };
        assert_eq!(members.handle_timeout(now), [], "turn {turn}");
        assert_eq!(members.update(records, now), [], "turn {turn}");
    }
}

#[test]
fn a_listener_that_moves_is_dialled_at_its_new_address_at_once() {
    let (mut members, now) = (membership(), Instant::now());
    members.update(&records(&[("front/a", &[A])]), now);
    members.handle_connection(A, true, now);
    let moved = records(&[("front/a", &[B])]);
    assert_eq!(members.update(&moved, now), [dial(B)]);
    members.handle_connection(A, false, now);
    assert_eq!(members.update(&moved, now + LINGER), [undial(A)]);
    // And back.
    assert_eq!(members.update(&records(&[("front/a", &[A])]), now + LINGER), [dial(A)]);
}

#[test]
fn news_of_an_unknown_connection_is_ignored_and_the_limit_holds() {
    let (mut members, now) = (membership(), Instant::now());
    members.handle_connection(A, true, now);
    assert_eq!(members.dialled().count(), 0);
    let urls: Vec<_> =
        (0..LISTENERS_MAX + 3).map(|at| (format!("front/{at}"), format!("tcp://h:{at}"))).collect();
    let slices: Vec<_> = urls.iter().map(|(name, url)| (name.as_str(), [url.as_str()])).collect();
    let listeners: Vec<_> = slices.iter().map(|(name, urls)| (*name, &urls[..])).collect();
    assert_eq!(members.update(&records(&listeners), now).len(), LISTENERS_MAX);
    assert_eq!(members.ignored(), 3);
}
