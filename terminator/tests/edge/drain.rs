//! The drain: requests that arrived before it are served, and no connection is reset.

use bus::{Envelope, Flags, Kind};

use crate::client::Client;
use crate::service::Service;
use crate::terminator::Terminator;

const GET: &str = "GET /a HTTP/1.1\r\nhost: a\r\n\r\n";

/// Sends SIGTERM, and returns once the worker has begun to drain.
fn begin_drain(terminator: &mut Terminator) {
    let mut idle = terminator.client();
    assert_eq!(idle.get("/nowhere").status, 404);
    terminator.signal("TERM");
    assert!(idle.is_closed());
}

#[test]
fn half_a_head_that_was_there_before_the_drain_is_served() {
    let mut terminator = Terminator::start(&["--drain-deadline", "1h"]);
    let mut client = terminator.client();
    client.send("GET /a HTTP/1.1\r\nhost: a\r\n\r\nGET /b HTTP/1.1\r\nho");
    assert_eq!(client.answer().status, 404);
    begin_drain(&mut terminator);
    client.send("st: a\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, answer.header("connection")), (404, Some("close")));
    assert!(client.is_closed());
    let (status, log) = terminator.end_of();
    assert_eq!(status.code(), Some(0), "{log}");
}

/// Starts a drain while a request waits for its reply and `behind` follows it on its connection.
fn drain_with(behind: &str) -> (Terminator, Service, Client, Envelope) {
    let terminator = Terminator::start(&["--deadline", "1h", "--drain-deadline", "1h"]);
    let mut service = terminator.service(&["GET /a"]);
    let (mut client, mut idle) = (terminator.client(), terminator.client());
    assert_eq!(idle.get("/nowhere").status, 404);
    client.send(GET);
    let request = service.request();
    client.send(behind);
    terminator.signal("TERM");
    assert!(idle.is_closed());
    (terminator, service, client, request)
}

#[test]
fn a_request_under_way_is_the_last_of_its_connection_in_a_drain() {
    let (mut terminator, mut service, mut client, request) = drain_with("");
    terminator.ends_with(&mut service, &request, &mut client);
}

/// A reset would discard the part of the response that a slow client has not read yet.
#[test]
fn what_lies_behind_the_last_request_of_a_drain_does_not_reset_the_connection() {
    let (mut terminator, mut service, mut client, request) = drain_with(GET);
    service.reply(&request, 200, &[], b"whole");
    let answer = client.answer();
    assert_eq!((answer.text(), answer.header("connection")), ("whole", Some("close")));
    assert!(client.has_ended());
    drop(client);
    let (status, log) = terminator.end_of();
    assert_eq!(status.code(), Some(0), "{log}");
}

/// The process is stopped meanwhile, so that it sees the signal and the requests at the same time.
#[test]
fn what_came_before_a_drain_is_served_on_connections_old_and_new() {
    let mut terminator = Terminator::start(&["--drain-deadline", "1h"]);
    let mut old = terminator.client();
    assert_eq!(old.get("/nowhere").status, 404);
    terminator.signal("STOP");
    let mut new = terminator.client();
    let mut chunked = terminator.client();
    old.send(GET);
    new.send(GET);
    chunked.send("POST /nowhere HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n");
    terminator.signals(&["TERM", "CONT"]);
    for client in [&mut old, &mut new, &mut chunked] {
        assert_eq!(client.answer().status, 404);
        assert!(client.has_ended());
    }
    let (status, log) = terminator.end_of();
    assert_eq!(status.code(), Some(0), "{log}");
}

/// Empty lines are not the beginning of a request, so the connection closes when the drain begins
/// and not at its deadline.
#[test]
fn an_empty_line_that_came_before_a_drain_does_not_keep_the_connection() {
    for behind in ["\r\n", "\r\n\r\n\r\n", "\r"] {
        let mut terminator = Terminator::start(&["--drain-deadline", "1h", "--idle-timeout", "1h"]);
        let mut client = terminator.client();
        assert_eq!(client.get("/nowhere").status, 404);
        terminator.signal("STOP");
        client.send(behind);
        terminator.signals(&["TERM", "CONT"]);
        assert!(client.is_closed(), "{behind:?}");
        assert_eq!(terminator.end_of().0.code(), Some(0));
    }
}

/// The drain begins after the response is written, while the client is still sending.
#[test]
fn a_drain_does_not_reset_a_connection_that_throws_away_a_body() {
    let mut terminator = Terminator::start(&["--drain-deadline", "1h"]);
    let mut client = terminator.client();
    client.send("POST /nowhere HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\nsome");
    let mut idle = terminator.client();
    assert_eq!(idle.get("/nowhere").status, 404);
    terminator.until("/stats", |stats| stats["statuses"]["404"] == 2);
    terminator.signal("TERM");
    assert!(idle.is_closed());
    // If the socket were closed, the first bytes would cause a reset, and the next sends would
    // fail.
    (0..10).for_each(|_| client.send("more"));
    assert_eq!(client.answer().status, 404);
    assert!(client.has_ended());
    drop(client);
    let (status, log) = terminator.end_of();
    assert_eq!(status.code(), Some(0), "{log}");
}

/// A long poll can be answered at any moment, and need not keep the terminator from ending.
#[test]
fn a_drain_asks_for_the_answers_that_are_outstanding() {
    let (mut terminator, mut service, mut client, request) = drain_with("");
    let cancel = service.until(Kind::Cancel).header();
    assert!(cancel.flags.contains(Flags::FINISH), "{cancel:?}");
    assert_eq!(cancel.correlation, request.header().correlation);
    terminator.ends_with(&mut service, &request, &mut client);
}

#[test]
fn a_request_that_waits_ends_with_the_drains_deadline() {
    let mut terminator = Terminator::start(&["--deadline", "1h", "--drain-deadline", "100ms"]);
    let mut service = terminator.service(&["GET /a"]);
    let mut client = terminator.client();
    client.send(GET);
    service.request();
    terminator.signal("TERM");
    let (status, log) = terminator.end_of();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("--drain-deadline"), "{log}");
}

#[test]
fn everything_is_served_while_the_drain_is_delayed_and_clients_are_told_to_leave() {
    let dir = tempfile::tempdir().unwrap();
    let unix = format!("unix:{}", dir.path().join("http.sock").display());
    let flags = ["--http", "127.0.0.1:0", "--http", &unix, "--drain-delay", "1h", "--deadline", "1h"];
    let mut terminator = Terminator::start(&flags);
    let mut service = terminator.service(&["GET /a"]);
    let (mut idle, mut waiting) = (terminator.client(), terminator.client());
    assert_eq!(idle.get("/nowhere").header("connection"), None);
    waiting.send(GET);
    let request = service.request();
    terminator.signal("TERM");
    terminator.until("/ready", |ready| ready["reasons"][0]["reason"] == "draining");
    service.reply(&request, 200, &[], b"last");
    let old = [waiting, idle];
    let new = terminator.http.iter().map(|address| Client::connect(address));
    for (at, mut client) in old.into_iter().chain(new).enumerate() {
        if at > 0 {
            client.send("GET /nowhere HTTP/1.1\r\nhost: a\r\n\r\n");
        }
        assert_eq!(client.answer().header("connection"), Some("close"));
        assert!(client.is_closed());
    }
    // Signals within the first second count as repetitions of the first; a later one ends the
    // process.
    while !terminator.has_ended() {
        terminator.signal("TERM");
        std::thread::yield_now();
    }
    assert_eq!(terminator.end_of().0.code(), Some(1));
}

#[test]
fn the_drain_follows_its_delay() {
    let mut terminator = Terminator::start(&["--drain-delay", "100ms"]);
    let mut idle = terminator.client();
    assert_eq!(idle.get("/nowhere").status, 404);
    terminator.signal("TERM");
    assert!(idle.is_closed());
    let (status, log) = terminator.end_of();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("served for 100ms more"), "{log}");
}
