//! One connection: requests in pieces, pipelined requests, slow services, and clients that leave.

use bus::Kind;

use crate::client::Client;
use crate::service::field;
use crate::terminator::{Terminator, responses};

const GET: &str = "GET /a?b=%20c HTTP/1.1\r\nHost: a.example\r\n\r\n";

#[test]
fn ids_and_traces_that_came_are_kept() {
    let terminator = Terminator::start(&[]);
    let mut service = terminator.service(&["GET /a"]);
    let mut client = terminator.client();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    client.send(format!("GET /a HTTP/1.1\r\nhost: a\r\nX-Request-Id: mine\r\nTraceParent: {trace}\r\n\r\n"));
    let request = service.request();
    assert_eq!(
        (field(&request, "x-request-id"), field(&request, "traceparent")),
        (Some("mine"), Some(trace))
    );
    service.reply(&request, 200, &[("x-request-id", "theirs")], b"");
    assert_eq!(client.answer().header("x-request-id"), Some("mine"));
}

#[test]
fn fields_of_a_reply_cannot_break_its_framing() {
    let terminator = Terminator::start(&[]);
    let mut service = terminator.service(&["GET /a"]);
    let long = vec![b'x'; 300_000];
    let cookies = [("set-cookie", "a"), ("x-b", "\u{e9}\tc"), ("set-cookie", "b"), ("content-length", "7")];
    let framing = [
        ("date", "yesterday"),
        ("date", "tomorrow"),
        ("connection", "close"),
        ("connection", "x-inner"),
        ("x-inner", "1"),
        ("transfer-encoding", "gzip"),
        ("server", "s"),
    ];
    let bodies: [&[u8]; 3] = [b"", b"body", &long];
    for status in [200, 201, 202, 204, 205, 206, 299, 301, 304, 404, 418, 500, 599, 100, 600] {
        for (fields, body) in [&cookies[..], &framing, &[]].into_iter().zip(bodies) {
            let case = format!("{status}, {} bytes", body.len());
            let mut client = terminator.client();
            client.send(GET);
            let request = service.request();
            service.reply(&request, status, fields, body);
            // Neither has a body or a Content-Length.
            let answer = if matches!(status, 204 | 304) { client.head() } else { client.answer() };
            let all = |name: &str| answer.headers.iter().filter(|(found, _)| found == name).count();
            if (200..600).contains(&status) {
                assert_eq!(answer.status, status, "{case}");
                assert_eq!(
                    all("set-cookie"),
                    fields.iter().filter(|(name, _)| *name == "set-cookie").count()
                );
                assert_eq!(answer.body, if matches!(status, 204 | 205 | 304) { b"" } else { body }, "{case}");
            } else {
                answer.problem(502, "bad_reply");
            }
            assert_eq!((all("date"), all("connection"), all("x-inner")), (1, 0, 0), "{case}: {answer:?}");
            assert_eq!((all("transfer-encoding"), all("content-length") <= 1), (0, true), "{case}");
            assert_eq!(client.get("/nowhere").status, 404, "{case}");
        }
    }
}

#[test]
fn a_head_in_two_pieces_is_answered_wherever_it_is_cut() {
    let terminator = Terminator::start(&[]);
    let mut client = terminator.client();
    for at in 1..GET.len() {
        client.send(&GET[..at]);
        client.send(&GET[at..]);
        client.answer().problem(404, "no_route");
    }
}

#[test]
fn requests_behind_one_that_waits_are_answered_in_their_order() {
    let terminator = Terminator::start(&[]);
    let mut service = terminator.service(&["GET /a", "POST /a"]);
    let mut client = terminator.client();
    client.send(GET);
    let first = service.request();
    client.send(
        "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbodyGET /b HTTP/1.1\r\nhost: a\r\n\r\n",
    );
    service.reply(&first, 200, &[], b"first");
    assert_eq!(client.answer().text(), "first");
    let second = service.request();
    assert_eq!((field(&second, ":method"), second.body_bytes()), (Some("POST"), &b"body"[..]));
    service.reply(&second, 201, &[], b"second");
    assert_eq!(client.answer().text(), "second");
    assert_eq!(client.answer().status, 404);
}

#[test]
fn a_reply_in_parts_is_streamed_and_the_connection_goes_on() {
    let terminator = Terminator::start(&[]);
    let mut service = terminator.service(&["GET /a"]);
    let mut client = terminator.client();
    for _ in 0..2 {
        client.send(GET);
        let request = service.request();
        service.part(&request, &[("content-type", "text/plain")], b"one");
        let head = client.head();
        assert_eq!((head.status, head.header("transfer-encoding")), (200, Some("chunked")));
        assert_eq!(client.chunk(), "one");
        service.reply(&request, 200, &[], b"two");
        assert_eq!((client.chunk(), client.chunk()), ("two".to_owned(), String::new()));
    }
}

#[test]
fn a_client_that_resets_its_connection_cancels_its_request() {
    let terminator = Terminator::start(&["--deadline", "1h"]);
    let mut service = terminator.service(&["GET /a"]);
    let mut client = terminator.client();
    client.send(GET);
    let request = service.request();
    assert_eq!(terminator.ask("/stats")["in_flight"], 1);
    client.reset();
    let cancel = service.until(Kind::Cancel);
    assert_eq!(cancel.header().correlation, request.header().correlation);
    let stats = terminator.until("/stats", |stats| stats["connections_open"] == 0);
    assert_eq!((&stats["cancelled"], responses(&stats)), (&1.into(), 0));
    assert_eq!((&stats["in_flight"], &stats["outstanding"]), (&0.into(), &0.into()));
}

#[test]
fn a_client_that_ends_its_side_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let unix = format!("unix:{}", dir.path().join("http.sock").display());
    let terminator = Terminator::start(&["--http", "127.0.0.1:0", "--http", &unix, "--deadline", "1h"]);
    let mut service = terminator.service(&["GET /a", "POST /a"]);
    for address in &terminator.http {
        for text in [
            GET.to_owned(),
            GET.repeat(2),
            "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n".to_owned(),
        ] {
            let mut client = Client::connect(address);
            client.send(&text);
            client.end();
            for _ in 0..text.matches("HTTP/1.1").count() {
                let request = service.request();
                service.reply(&request, 200, &[], b"whole");
                assert_eq!(client.answer().text(), "whole");
            }
            assert!(client.has_ended());
        }
        let mut client = Client::connect(address);
        client.send("POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nx");
        client.end();
        client.answer().problem(400, "body_broken");
    }
}

/// The terminator cannot tell such a client from one that has gone, so the long deadline of the
/// route does not apply to it.
#[test]
fn a_client_that_has_ended_its_side_is_given_up_after_the_usual_deadline() {
    let terminator = Terminator::start(&["--deadline", "200ms", "--route-deadline", "GET /a=1h"]);
    let mut service = terminator.service(&["GET /a"]);
    let mut client = terminator.client();
    client.send(GET);
    let request = service.request();
    client.end();
    let cancel = service.until(Kind::Cancel);
    assert_eq!(cancel.header().correlation, request.header().correlation);
    client.answer().problem(504, "deadline");
    assert!(client.has_ended());
}

#[test]
fn empty_lines_between_requests_are_no_requests() {
    let terminator = Terminator::start(&["--header-timeout", "300ms", "--idle-timeout", "1h"]);
    let mut client = terminator.client();
    for between in ["", "\r\n", "\r\n\r\n", "\r"] {
        client.send(between);
        if between == "\r" {
            client.send("\n");
        }
        assert_eq!(client.get("/nowhere").status, 404);
        client.send(between);
        if between == "\r" {
            client.send("\n");
        }
        // Waits longer than --header-timeout. A 408 to the empty lines would be read as the next
        // response.
        let mut slow = terminator.client();
        slow.send("GET");
        slow.answer().problem(408, "head_timeout");
        assert_eq!(client.get("/nowhere").status, 404);
    }
    client.send("\n");
    client.answer().problem(400, "malformed");
}

/// The requests are longer than one read.
#[test]
fn what_is_pipelined_behind_requests_that_wait_is_all_served() {
    const REQUESTS: usize = 900;
    const WAITING: [usize; 3] = [300, 301, 302];
    let terminator = Terminator::start(&["--deadline", "1h"]);
    let mut service = terminator.service(&["GET /a"]);
    let mut client = terminator.client();
    let mut all = String::new();
    for number in 0..REQUESTS {
        let path = if WAITING.contains(&number) { "/a" } else { "/b" };
        all += &format!("GET {path} HTTP/1.1\r\nhost: a\r\nx-request-id: n{number}\r\n\r\n");
    }
    assert!(all.len() > 32 * 1024);
    client.send(&all);
    for number in 0..REQUESTS {
        if WAITING.contains(&number) {
            let request = service.request();
            service.reply(&request, 200, &[], b"");
        }
        let answer = client.answer();
        let expected = if WAITING.contains(&number) { 200 } else { 404 };
        let id = format!("n{number}");
        assert_eq!((answer.status, answer.header("x-request-id")), (expected, Some(&id[..])));
    }
}

#[test]
fn a_request_that_waits_is_answered_and_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("access.log");
    let unix = format!("unix:{}", dir.path().join("http.sock").display());
    let flags = ["--http", "127.0.0.1:0", "--http", &unix, "--deadline", "1h"];
    let log = ["--access-log", file.to_str().unwrap()];
    let mut terminator = Terminator::start(&[&flags[..], &log].concat());
    let mut service = terminator.service(&["GET /a", "POST /a"]);
    let get = GET.replace("Host", "x-request-id: get\r\nHost");
    let post = "POST /a HTTP/1.1\r\nhost: a\r\nx-request-id: post\r\ncontent-length: 4\r\n\r\nbody";
    let mut clients: Vec<_> = terminator.http.iter().map(|address| Client::connect(address)).collect();
    for (text, name, body) in [(get.as_str(), "get", &b""[..]), (post, "post", b"body")] {
        let requests: Vec<_> = clients
            .iter_mut()
            .map(|client| {
                client.send(text);
                service.request()
            })
            .collect();
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
    for (name, count) in [("requests", 4), ("in_flight", 0), ("outstanding", 0)] {
        assert_eq!(stats[name], count, "{name}: {stats:#}");
    }
    assert_eq!(responses(&stats), 4);
    assert_eq!((&stats["cancelled"], &stats["route_latency"]["GET /a"]["count"]), (&0.into(), &2.into()));
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
fn a_response_is_as_the_request_wanted_it() {
    let terminator = Terminator::start(&["--deadline", "1h"]);
    let mut service = terminator.service(&["GET /a", "HEAD /a"]);
    let cases = [
        ("GET /a HTTP/1.1", "", None, true),
        ("GET /a HTTP/1.1", "connection: x, Close\r\n", Some("close"), false),
        ("GET /a HTTP/1.0", "", Some("close"), false),
        ("GET /a HTTP/1.0", "connection: keep-alive\r\n", Some("keep-alive"), true),
        ("HEAD /a HTTP/1.1", "", None, true),
        ("HEAD /a HTTP/1.1", "connection: close\r\n", Some("close"), false),
    ];
    let waiting = cases.map(|(line, header, ..)| {
        let mut client = terminator.client();
        client.send(format!("{line}\r\nhost: a\r\n{header}\r\n"));
        (client, service.request())
    });
    for ((line, header, connection, stays), (mut client, request)) in cases.into_iter().zip(waiting) {
        let case = format!("{line} {header}");
        service.reply(&request, 200, &[], b"12345");
        let answer = if line.starts_with("HEAD") { client.head() } else { client.answer() };
        assert_eq!(answer.header("connection"), connection, "{case}");
        assert_eq!((answer.status, answer.header("content-length")), (200, Some("5")), "{case}");
        assert_eq!(answer.version, "HTTP/1.1", "{case}");
        if stays {
            // If the response to HEAD had a body, it would be read as this status line.
            assert_eq!(client.get("/nowhere").status, 404, "{case}");
        } else {
            assert!(client.is_closed(), "{case}");
        }
    }
}

#[test]
fn requests_that_come_while_one_waits_are_answered_after_it() {
    let terminator = Terminator::start(&["--deadline", "1h"]);
    let mut service = terminator.service(&["GET /a", "GET /b"]);
    let mut waiting = Vec::new();
    for cookie in ["", "1", &"c".repeat(5000)] {
        let behind = format!("GET /b HTTP/1.1\r\nhost: a\r\ncookie: {cookie}\r\n\r\n");
        for at in [0, 20, behind.len()] {
            let mut client = terminator.client();
            client.send(format!("{GET}{}", &behind[..at]));
            waiting.push((client, service.request(), behind[at..].to_owned(), cookie.to_owned()));
        }
    }
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
    assert_eq!((&stats["requests"], responses(&stats)), (&18.into(), 18));
}

#[test]
fn an_unread_body_is_never_taken_for_a_request() {
    let terminator = Terminator::start(&[]);
    let inner = "GET /smuggled HTTP/1.1\r\nhost: a\r\nx-request-id: smuggled\r\n\r\n";
    let chunk = format!("{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len());
    let sized = format!("content-length: {}\r\n\r\n{inner}", inner.len());
    let expected = format!("expect: 100-continue\r\n{sized}");
    let in_two = format!("transfer-encoding: chunked\r\n\r\n1\r\nx\r\n{chunk}");
    for body in [sized, expected, in_two, format!("transfer-encoding: chunked\r\n\r\n{chunk}")] {
        let mut client = terminator.client();
        client.send(format!("POST /nowhere HTTP/1.1\r\nhost: a\r\nx-request-id: outer\r\n{body}"));
        assert_eq!(client.answer().header("x-request-id"), Some("outer"));
        client.try_send("GET /next HTTP/1.1\r\nhost: a\r\nx-request-id: next\r\n\r\n");
        if !client.is_closed() {
            assert_eq!(client.answer().header("x-request-id"), Some("next"), "{body:?}");
        }
    }
}

#[test]
fn a_client_that_leaves_between_two_parts_of_its_response_cancels_the_rest() {
    let terminator = Terminator::start(&["--deadline", "1h"]);
    let mut service = terminator.service(&["GET /a"]);
    let mut client = terminator.client();
    client.send(GET);
    let request = service.request();
    service.part(&request, &[], b"one");
    assert_eq!((client.head().status, client.chunk()), (200, "one".to_owned()));
    client.reset();
    let cancel = service.until(Kind::Cancel);
    assert_eq!(cancel.header().correlation, request.header().correlation);
    terminator.until("/stats", |stats| stats["connections_open"] == 0);
}

#[test]
fn a_client_without_chunks_sees_that_its_response_broke_off() {
    let terminator = Terminator::start(&[]);
    let mut service = terminator.service(&["GET /a"]);
    let mut client = terminator.client();
    client.send("GET /a HTTP/1.0\r\n\r\n");
    let request = service.request();
    service.part(&request, &[], b"one");
    assert_eq!(client.head().header("connection"), Some("close"));
    drop(service);
    assert!(client.breaks_off());
}

/// The connection closes whether or not the body was sent together with the head.
#[test]
fn a_refused_request_that_expects_to_be_asked_for_its_body_is_the_last() {
    let terminator = Terminator::start(&[]);
    let head = "PUT /nowhere HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n";
    for with_head in ["", "a", "abc"] {
        let mut client = terminator.client();
        client.send(format!("{head}{with_head}"));
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("connection")), (404, Some("close")), "{with_head:?}");
        assert!(client.is_closed());
    }
}
