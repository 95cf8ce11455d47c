//! Connections that give hyper's buffers back: between two requests, and while a request waits for its reply.

use bus::{Envelope, Kind};

use crate::client::Client;
use crate::service::Service;
use crate::terminator::Terminator;

/// The empty line before it leaves it to hyper.
const GET: &str = "\r\nGET /a HTTP/1.1\r\nhost: a\r\n\r\n";

/// Once the one worker knows of it.
fn begin_drain(terminator: &mut Terminator) {
    let mut idle = terminator.client();
    assert_eq!(idle.get("/").status, 404);
    terminator.signal("TERM");
    assert!(idle.is_closed());
}

/// One that may leave what it is sent unread for a while.
fn service(terminator: &Terminator, routes: &[&str]) -> Service {
    let mut service = terminator.service(routes);
    service.ignore_pings();
    service
}

/// Sends `request` and waits until it rests; as the service has it.
fn rested(terminator: &Terminator, service: &mut Service, client: &mut Client, request: &str) -> Envelope {
    client.send(request);
    let request = service.request();
    until_rested(terminator, 1);
    request
}

/// Waits until so many requests have rested since the start.
fn until_rested(terminator: &Terminator, count: u64) {
    terminator.until("/stats", |stats| stats["requests_rested"] == count);
}

/// The bytes that came with the first request, half a head, are not lost when hyper is sent away.
#[test]
fn a_connection_that_rested_is_served_as_before() {
    let terminator = Terminator::start(&[]);
    for address in &terminator.http {
        let mut client = Client::connect(address);
        let rested = terminator.ask("/stats")["connections_rested"].as_u64().unwrap();
        client.send("GET /a HTTP/1.1\r\nhost: a\r\n\r\nGET /b HTTP/1.1\r\nho");
        assert_eq!(client.answer().status, 404);
        terminator.until("/stats", |stats| stats["connections_rested"].as_u64() > Some(rested));
        client.send("st: a\r\nx-request-id: second\r\n\r\n");
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("x-request-id")), (404, Some("second")));
        terminator.until("/stats", |stats| stats["connections_rested"].as_u64() > Some(rested + 1));
        assert_eq!(client.get("/c").status, 404);
        drop(client);
        terminator.until("/stats", |stats| stats["connections_open"] == 0);
    }
}

/// More than one hyper reads at once lies behind requests that rest one after the other: nothing of it is lost, whichever
/// hyper had come how far.
#[test]
fn what_is_pipelined_behind_requests_that_rest_is_all_served() {
    const REQUESTS: usize = 900;
    const RESTING: [usize; 3] = [300, 301, 302];
    let terminator = Terminator::start(&["--deadline", "1h"]);
    let mut service = service(&terminator, &["GET /a"]);
    let mut client = terminator.client();
    let mut all = String::new();
    for number in 0..REQUESTS {
        let path = if RESTING.contains(&number) { "/a" } else { "/b" };
        all += &format!("GET {path} HTTP/1.1\r\nhost: a\r\nx-request-id: n{number}\r\n\r\n");
    }
    assert!(all.len() > 32 * 1024);
    client.send(&all);
    let mut rested = 0;
    for number in 0..REQUESTS {
        if RESTING.contains(&number) {
            let request = service.request();
            rested += 1;
            until_rested(&terminator, rested);
            service.reply(&request, 200, &[], b"");
        }
        let answer = client.answer();
        let expected = if RESTING.contains(&number) { 200 } else { 404 };
        let id = format!("n{number}");
        assert_eq!((answer.status, answer.header("x-request-id")), (expected, Some(&id[..])));
    }
}

/// A body that is there when it is refused goes with its head; the connection is then as any other.
#[test]
fn a_connection_behind_a_refused_body_is_plain_again_and_rests() {
    let terminator = Terminator::start(&[]);
    let mut client = terminator.client();
    let chunked = "transfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n";
    client.send(format!("POST /nowhere HTTP/1.1\r\nhost: a\r\n{chunked}"));
    assert_eq!(client.answer().status, 404);
    for _ in 0..2 {
        assert_eq!(client.get("/nowhere").status, 404);
    }
    let stats = terminator.until("/stats", |stats| stats["connections_rested"] == 1);
    assert_eq!(stats["requests_plain"], 2);
}

#[test]
fn connections_that_rest_end_with_the_drain() {
    let mut terminator = Terminator::start(&[]);
    let mut client = terminator.client();
    assert_eq!(client.get("/a").status, 404);
    terminator.until("/stats", |stats| stats["connections_rested"] == 1);
    terminator.signal("TERM");
    assert!(client.is_closed());
    let (status, log) = terminator.end_of();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[test]
fn half_a_head_that_was_there_before_the_rest_knows_of_the_drain() {
    let mut terminator = Terminator::start(&["--drain-deadline", "1h"]);
    let mut client = terminator.client();
    client.send("GET /a HTTP/1.1\r\nhost: a\r\n\r\nGET /b HTTP/1.1\r\nho");
    assert_eq!(client.answer().status, 404);
    terminator.until("/stats", |stats| stats["connections_rested"] == 1);
    begin_drain(&mut terminator);
    client.send("st: a\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, answer.header("connection")), (404, Some("close")));
    assert!(client.is_closed());
    let (status, log) = terminator.end_of();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[test]
fn a_request_that_rested_is_answered_and_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("access.log");
    let unix = format!("unix:{}", dir.path().join("http.sock").display());
    let flags = ["--http", "127.0.0.1:0", "--http", &unix, "--deadline", "1h"];
    let log = ["--access-log", file.to_str().unwrap()];
    let mut terminator = Terminator::start(&[&flags[..], &log].concat());
    let mut service = service(&terminator, &["GET /a", "POST /a"]);
    let get = GET.replace("host", "x-request-id: get\r\nhost");
    let post = "\r\nPOST /a HTTP/1.1\r\nhost: a\r\nx-request-id: post\r\ncontent-length: 4\r\n\r\nbody";
    let mut clients: Vec<_> = terminator.http.iter().map(|address| Client::connect(address)).collect();
    for (text, name, body) in [(get.as_str(), "get", &b""[..]), (post, "post", b"body")] {
        let requests: Vec<_> = clients
            .iter_mut()
            .map(|client| {
                client.send(text);
                service.request()
            })
            .collect();
        until_rested(&terminator, if name == "get" { 2 } else { 4 });
        for (client, request) in clients.iter_mut().zip(requests) {
            assert_eq!(request.body_bytes(), body);
            service.reply(&request, 201, &[("x-a", "b")], b"late");
            let answer = client.answer();
            assert_eq!((answer.status, answer.text(), answer.version.as_str()), (201, "late", "HTTP/1.1"));
            assert_eq!((answer.header("x-request-id"), answer.header("x-a")), (Some(name), Some("b")));
            assert_eq!(answer.header("connection"), None);
        }
    }
    let stats = terminator.ask("/stats");
    for (name, count) in [("requests", 4), ("responses", 4), ("in_flight", 0), ("outstanding", 0)] {
        assert_eq!(stats[name], count, "{name}: {stats:#}");
    }
    assert_eq!((&stats["client_gone"], &stats["routes"]["GET /a"]["count"]), (&0.into(), &2.into()));
    drop(clients);
    terminator.signal("TERM");
    assert_eq!(terminator.end_of().0.code(), Some(0));
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids: Vec<_> = lines.iter().map(|line| line["request_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["get", "get", "post", "post"]);
    assert!(lines.iter().all(|line| line["status"] == 201 && line["body_bytes"] == 4), "{text}");
}

#[test]
fn the_response_after_a_rest_is_as_the_request_wanted_it() {
    let terminator = Terminator::start(&["--deadline", "1h"]);
    let mut service = service(&terminator, &["GET /a", "HEAD /a"]);
    let cases = [
        ("GET /a HTTP/1.1", "", None, true),
        ("GET /a HTTP/1.1", "connection: x, Close\r\n", Some("close"), false),
        ("GET /a HTTP/1.0", "", None, false),
        ("GET /a HTTP/1.0", "connection: keep-alive\r\n", Some("keep-alive"), true),
        ("HEAD /a HTTP/1.1", "", None, true),
        ("HEAD /a HTTP/1.1", "connection: close\r\n", Some("close"), false),
    ];
    let waiting = cases.map(|(line, header, ..)| {
        let mut client = terminator.client();
        client.send(format!("\r\n{line}\r\nhost: a\r\n{header}\r\n"));
        (client, service.request())
    });
    until_rested(&terminator, 6);
    for ((line, header, connection, stays), (mut client, request)) in cases.into_iter().zip(waiting) {
        let case = format!("{line} {header}");
        service.reply(&request, 200, &[], b"12345");
        let answer = if line.starts_with("HEAD") { client.head() } else { client.answer() };
        assert_eq!(answer.header("connection"), connection, "{case}");
        assert_eq!((answer.status, answer.header("content-length")), (200, Some("5")), "{case}");
        assert!(line.ends_with(&answer.version), "{case}");
        if stays {
            // A body behind a response to HEAD would be read as the next status line.
            assert_eq!(client.get("/nowhere").status, 404, "{case}");
        } else {
            assert!(client.is_closed(), "{case}");
        }
    }
}

/// Those that hyper has read before it is sent away, and those that come after.
#[test]
fn requests_behind_one_that_rests_are_answered_after_it() {
    let terminator = Terminator::start(&["--deadline", "1h"]);
    let mut service = service(&terminator, &["GET /a", "GET /b"]);
    let mut waiting = Vec::new();
    for cookie in ["", "1", &"c".repeat(5000)] {
        let behind = format!("GET /b HTTP/1.1\r\nhost: a\r\ncookie: {cookie}\r\n\r\n");
        for at in [0, 20, behind.len()] {
            let mut client = terminator.client();
            client.send(format!("{GET}{}", &behind[..at]));
            waiting.push((client, service.request(), behind[at..].to_owned(), cookie.to_owned()));
        }
    }
    until_rested(&terminator, 9);
    for (mut client, request, after, cookie) in waiting {
        client.send(&after);
        service.reply(&request, 200, &[], b"first");
        assert_eq!(client.answer().text(), "first");
        let request = service.request();
        assert_eq!(request.field("cookie").unwrap(), cookie.as_bytes());
        service.reply(&request, 200, &[], b"second");
        assert_eq!(client.answer().text(), "second");
    }
    let stats = terminator.ask("/stats");
    assert_eq!((&stats["requests"], &stats["responses"]), (&18.into(), &18.into()));
}

#[test]
fn a_client_that_leaves_while_its_request_rests_cancels_it() {
    let terminator = Terminator::start(&["--deadline", "1h"]);
    let mut service = service(&terminator, &["GET /a"]);
    let mut client = terminator.client();
    let request = rested(&terminator, &mut service, &mut client, GET);
    assert_eq!(terminator.ask("/stats")["in_flight"], 1);
    drop(client);
    let cancel = service.until(Kind::Cancel);
    assert_eq!(cancel.header().correlation, request.header().correlation);
    let stats = terminator.until("/stats", |stats| stats["connections_open"] == 0);
    assert_eq!((&stats["client_gone"], &stats["responses"]), (&1.into(), &0.into()));
    assert_eq!((&stats["in_flight"], &stats["outstanding"]), (&0.into(), &0.into()));
}

#[test]
fn a_request_that_rests_meets_its_deadline() {
    let terminator = Terminator::start(&["--deadline", "2s"]);
    let mut service = service(&terminator, &["GET /a"]);
    let mut client = terminator.client();
    let late = rested(&terminator, &mut service, &mut client, GET);
    client.answer().problem(504, "deadline");
    service.reply(&late, 200, &[], b"late");
    client.send(GET);
    let request = service.request();
    service.reply(&request, 200, &[], b"in time");
    assert_eq!(client.answer().text(), "in time");
    assert_eq!(terminator.ask("/stats")["rejected"]["deadline"], 1);
}

#[test]
fn a_request_that_rests_outlives_its_service_as_one_that_does_not() {
    let terminator = Terminator::start(&["--deadline", "1h"]);
    let mut service = service(&terminator, &["POST /a"]);
    let mut client = terminator.client();
    let post = "\r\nPOST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n";
    rested(&terminator, &mut service, &mut client, post);
    drop(service);
    client.answer().problem(502, "lost");
    client.get("/nowhere").problem(404, "no_route");
}

#[test]
fn a_reply_in_parts_is_streamed_after_a_rest() {
    let terminator = Terminator::start(&["--deadline", "1h"]);
    let mut service = service(&terminator, &["GET /a"]);
    let mut client = terminator.client();
    let request = rested(&terminator, &mut service, &mut client, GET);
    service.part(&request, &[], b"one ");
    assert_eq!(client.head().header("transfer-encoding"), Some("chunked"));
    assert_eq!(client.chunk(), "one ");
    service.part(&request, &[], b"two ");
    assert_eq!(client.chunk(), "two ");
    service.reply(&request, 200, &[], b"three");
    assert_eq!((client.chunk(), client.chunk()), ("three".to_owned(), String::new()));
    assert_eq!(client.get("/nowhere").status, 404);
}

#[test]
fn a_request_that_rests_finishes_after_sigterm() {
    let mut terminator = Terminator::start(&["--deadline", "1h", "--drain-deadline", "1h"]);
    let mut service = service(&terminator, &["GET /a"]);
    let mut client = terminator.client();
    let request = rested(&terminator, &mut service, &mut client, GET);
    begin_drain(&mut terminator);
    terminator.ends_with(&mut service, &request, &mut client);
}

/// Its hyper knew of the drain, and is sent away after it.
#[test]
fn a_request_that_rests_during_the_drain_is_the_last_of_its_connection() {
    let mut terminator = Terminator::start(&["--deadline", "1h", "--drain-deadline", "1h"]);
    let mut service = service(&terminator, &["GET /a"]);
    let mut client = terminator.client();
    client.send(GET);
    let request = service.request();
    begin_drain(&mut terminator);
    terminator.until("/stats", |stats| stats["requests_rested"] == 1);
    terminator.ends_with(&mut service, &request, &mut client);
}

#[test]
fn a_request_that_rests_ends_with_the_drains_deadline() {
    let mut terminator = Terminator::start(&["--deadline", "1h", "--drain-deadline", "100ms"]);
    let mut service = service(&terminator, &["GET /a"]);
    let mut client = terminator.client();
    rested(&terminator, &mut service, &mut client, GET);
    terminator.signal("TERM");
    let (status, log) = terminator.end_of();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("--drain-deadline"), "{log}");
}
