//! Programs in Python, written from PROTOCOL.md alone, as services, publishers and subscribers.

use serde_json::Value;

use crate::process::Process;
use crate::terminator::Terminator;
use crate::tools::{guest, python};
use crate::until::until;

/// A Unix socket for a guest, in a directory that only the test knows.
fn ipc_address(dir: &tempfile::TempDir) -> String {
    format!("ipc://{}/guest", dir.path().display())
}

/// A TCP port that was free a moment ago. A guest cannot report the port it got, so the test
/// chooses it.
fn tcp_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("tcp://{}", listener.local_addr().unwrap())
}

/// The guest answers, and appears in `/peers`, `/routes` and `/stats`.
fn serves(terminator: &Terminator, guest: &Process) {
    let peer = &terminator.wait_peers("py-hello", 1)[0];
    assert_eq!(peer["instance"], format!("py-{}", guest.pid()));
    assert!(terminator.admin("/routes").to_string().contains("GET /py/{name}"));
    let sent = terminator.counter("bus.requests.sent");
    for name in ["ann", "bob?loud=1", "c%20d"] {
        let answer = terminator.get(&format!("/py/{name}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let name = name.split('?').next().unwrap();
        assert_eq!(answer.json(), serde_json::json!({ "hello": name, "pid": guest.pid() }));
    }
    assert_eq!(terminator.counter("bus.requests.sent"), sent + 3);
    assert_eq!(terminator.counter("bus.replies.received"), sent + 3);
    let missing = terminator.get("/nobody/claims/this");
    assert_eq!((missing.status, missing.header("content-type")), (404, Some("application/problem+json")));
}

fn guest_dials(scheme: &str) {
    let Some(python) = python() else { return };
    let terminator = Terminator::start(&[]);
    let mut guest = guest(&python, "hello.py", &[terminator.bus(scheme)]);
    serves(&terminator, &guest);
    guest.kill();
    terminator.wait_peers("py-hello", 0);
    let gone = terminator.get("/py/ann");
    assert_eq!((gone.status, gone.header("content-type")), (503, Some("application/problem+json")));
    assert!(gone.text().contains("py-hello"), "the reason names the service: {}", gone.text());
}

fn guest_listens(url: &str) {
    let Some(python) = python() else { return };
    let terminator = Terminator::start(&["--bus-dial", url]);
    let mut first = guest(&python, "hello.py", &[url, "--listen"]);
    serves(&terminator, &first);
    first.kill();
    terminator.wait_peers("py-hello", 0);
    // The terminator dials again by itself.
    let second = guest(&python, "hello.py", &[url, "--listen"]);
    terminator.wait_peers("py-hello", 1);
    assert_eq!(terminator.get("/py/ann").json()["pid"], second.pid());
}

#[test]
fn a_guest_that_dials_over_tcp_serves() {
    guest_dials("tcp");
}

#[test]
fn a_guest_that_dials_over_ipc_serves() {
    guest_dials("ipc");
}

#[test]
fn a_guest_that_listens_on_tcp_is_dialled_and_serves() {
    guest_listens(&tcp_address());
}

#[test]
fn a_guest_that_listens_on_ipc_is_dialled_and_serves() {
    let dir = tempfile::tempdir().unwrap();
    guest_listens(&ipc_address(&dir));
}

#[test]
fn a_guest_is_found_again_by_a_terminator_that_was_restarted() {
    let Some(python) = python() else { return };
    let url = tcp_address();
    let guest = guest(&python, "hello.py", &[&url, "--listen"]);
    for _ in 0..2 {
        let mut terminator = Terminator::start(&["--bus-dial", &url]);
        serves(&terminator, &guest);
        terminator.process.kill();
    }
}

#[test]
fn events_pass_from_guest_to_guest_by_the_terminator() {
    let Some(python) = python() else { return };
    let terminator = Terminator::start(&[]);
    let mut subscribers =
        ["tcp", "ipc"].map(|scheme| guest(&python, "events.py", &[terminator.bus(scheme), "greetings"]));
    let mut other = guest(&python, "events.py", &[terminator.bus("tcp"), "weather"]);
    for subscriber in subscribers.iter_mut().chain([&mut other]) {
        subscriber.wait_line("its ping has a pong", |line| line.starts_with("pong after").then_some(()));
    }
    terminator.wait_peers("py-events", 3);

    let say = |topic: &str, text: &str| {
        let mut publisher = guest(&python, "events.py", &[terminator.bus("ipc"), topic, "--say", text]);
        publisher.wait_line("its event was carried", |line| line.starts_with("carried after").then_some(()));
        assert!(publisher.wait().success());
    };
    say("greetings", "good morning");
    say("weather", "rain");

    let event = |line: &str| serde_json::from_str::<Value>(line).ok();
    for subscriber in &mut subscribers {
        let got = subscriber.wait_line("an event", event);
        assert_eq!((&got["topic"], &got["body"]), (&"greetings".into(), &"good morning".into()));
    }
    let got = other.wait_line("an event", event);
    assert_eq!((&got["topic"], &got["body"]), (&"weather".into(), &"rain".into()));
    assert!(
        subscribers.iter().all(|subscriber| !subscriber.lines().iter().any(|line| line.contains("rain"))),
        "only the topics of the hello are passed on"
    );
    assert!(terminator.counter("bus.pings.received") >= 5);
    // Both publishers are gone; the subscribers remain.
    until("the publishers are gone", || match terminator.peers("py-events").len() {
        3 => Ok(()),
        count => Err(count.to_string()),
    });
}
