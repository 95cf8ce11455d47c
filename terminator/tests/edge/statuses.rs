//! Every error status of the terminator, each produced by its cause.

use crate::client::Client;
use crate::service::Service;
use crate::terminator::{Terminator, responses};

#[test]
fn input_that_is_not_http_is_400() {
    let terminator = Terminator::start(&[]);
    for garbage in
        ["\x16\x03\x01\x02\x00\r\n\r\n", "GET / FTP/9.9\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n"]
    {
        let mut client = terminator.client();
        client.send(garbage);
        client.answer().problem(400, "malformed");
        assert!(client.is_closed());
    }
    let stats = terminator.ask("/stats");
    assert_eq!(stats["statuses"]["400"], 3);
    assert_eq!(stats["rejected"]["malformed"], 3);
}

#[test]
fn a_host_that_is_missing_repeated_or_not_valid_is_400() {
    let terminator = Terminator::start(&[]);
    let cases = [
        ("1.1", "/", ""),
        ("1.1", "http://a/", ""),
        ("1.1", "/", "Host: a\r\nHost: a\r\n"),
        ("1.1", "/", "Host: a b/c@\r\n"),
        ("1.1", "/", "Host: user@a\r\n"),
        ("1.1", "/", "Host: a:http\r\n"),
        ("1.1", "/", "Host: [::1\r\n"),
        ("1.0", "/", "Host: a\r\nHost: b\r\n"),
        ("1.0", "/", "Host: a/b\r\n"),
    ];
    for (version, target, host) in cases {
        let mut client = terminator.client();
        client.send(format!("GET {target} HTTP/{version}\r\nconnection: keep-alive\r\n{host}\r\n"));
        client.answer().problem(400, "host");
    }
    for target in ["http://user@a/", "http://a:b/", "http://[]/", "ftp://a/", "/a#b", "a", "*"] {
        let mut client = terminator.client();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        client.answer().problem(400, "malformed");
    }
    for (version, target, host) in [
        ("1.1", "/", "Host: example.org:8080\r\n"),
        ("1.1", "/", "host: [::1]:80\r\n"),
        ("1.1", "/", "Host:\r\n"),
        ("1.1", "http://a/", "Host: b\r\n"),
        ("1.0", "/", ""),
    ] {
        let mut client = terminator.client();
        client.send(format!("GET {target} HTTP/{version}\r\n{host}\r\n"));
        client.answer().problem(404, "no_route");
    }
    let stats = terminator.ask("/stats");
    assert_eq!(
        (&stats["rejected"]["host"], &stats["rejected"]["malformed"]),
        (&cases.len().into(), &7.into())
    );
    assert_eq!(stats["statuses"]["400"], cases.len() + 7);
}

#[test]
fn browsers_are_answered_with_a_page_and_programs_with_json() {
    let terminator = Terminator::start(&["--deadline", "200ms"]);
    let _service = terminator.service(&["GET /slow"]);
    let mut client = terminator.client();
    for (path, status) in [("/nowhere/<b>", 400), ("/nowhere", 404), ("/slow", 504)] {
        client.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\naccept: text/html,*/*;q=0.8\r\n\r\n"));
        let answer = client.answer();
        assert_eq!(answer.status, status);
        if status == 400 {
            // The Accept header of a malformed request is not read.
            answer.problem(400, "malformed");
            client = terminator.client();
            continue;
        }
        assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
        assert!(answer.text().starts_with("<!DOCTYPE html>") && answer.text().contains(path), "{answer:?}");
        client.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\naccept: */*\r\n\r\n"));
        assert_eq!(client.answer().header("content-type"), Some("application/problem+json"));
    }
}

#[test]
fn two_lengths_are_400_and_the_end_of_the_connection() {
    let terminator = Terminator::start(&[]);
    let _service = terminator.service(&["POST /a"]);
    for lengths in
        ["Content-Length: 3\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\ncontent-length: 3"]
    {
        let mut client = terminator.client();
        client.get("/warm-up").problem(404, "no_route");
        let request = format!(
            "POST /a HTTP/1.1\r\nhost: a\r\n{lengths}\r\n\r\n0\r\n\r\nGET /b HTTP/1.1\r\nhost: a\r\n\r\n"
        );
        client.send(request);
        let answer = client.answer();
        answer.problem(400, "framing");
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(client.is_closed(), "the bytes behind it must not be taken for a request");
    }
    let other = terminator.client().get("/a");
    assert_eq!(other.status, 405);
}

#[test]
fn an_unclaimed_path_is_404_and_an_unclaimed_method_405() {
    let terminator = Terminator::start(&[]);
    let _service = terminator.service(&["GET /a/{id}", "PUT /a/{id}"]);
    let mut client = terminator.client();
    let problem = client.get("/b?c=d").problem(404, "no_route");
    assert_eq!(problem["instance"], "/b");
    assert_eq!(problem["request_id"].as_str().unwrap().len(), 32);
    client.send("DELETE /a/1 HTTP/1.1\r\nhost: a\r\nx-request-id: mine\r\n\r\n");
    let answer = client.answer();
    let problem = answer.problem(405, "method");
    let mut allow: Vec<_> = answer.header("allow").unwrap().split(", ").collect();
    allow.sort_unstable();
    assert_eq!(allow, ["GET", "HEAD", "PUT"]);
    assert_eq!(problem["request_id"], "mine");
    assert_eq!(answer.header("x-request-id"), Some("mine"));
    client.send("CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n");
    client.answer().problem(405, "method");
}

/// After a restart services are still dialling, and clients would take 404 as permanent.
#[test]
fn an_unclaimed_path_is_503_and_the_terminator_not_ready_while_it_settles() {
    let terminator = Terminator::start(&["--settle", "1h"]);
    let answer = terminator.client().get("/a");
    assert!(answer.problem(503, "no_instance")["detail"].as_str().unwrap().contains("(--settle)"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    let ready = || Client::connect(&terminator.admin.to_string()).get("/ready");
    assert!(ready().problem(503, "not_ready")["detail"].as_str().unwrap().contains("dialling"));
    let mut service = terminator.service(&["GET /a"]);
    let mut client = terminator.client();
    client.send("GET /a HTTP/1.1\r\nhost: a\r\n\r\n");
    let request = service.request();
    service.reply(&request, 200, &[], b"");
    assert_eq!(client.answer().status, 200);
    client.send("PUT /a HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
    client.answer().problem(405, "method");
}

#[test]
fn a_transfer_coding_other_than_chunked_alone_is_501_and_the_end_of_the_connection() {
    let terminator = Terminator::start(&[]);
    let _service = terminator.service(&["POST /a"]);
    for coding in ["gzip, chunked", "gzip", "gzip\r\ntransfer-encoding: chunked"] {
        let mut client = terminator.client();
        client.send(format!(
            "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: {coding}\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        ));
        let answer = client.answer();
        answer.problem(501, "coding");
        assert_eq!(answer.header("connection"), Some("close"), "{coding}");
        assert!(client.is_closed());
    }
}

/// Sends a request that is refused, with `body`, on `times` connections. Returns how many of them
/// were reused afterwards; checks that the others announced their close.
fn refused(terminator: &Terminator, times: usize, body: &str) -> usize {
    let mut reused = 0;
    for _ in 0..times {
        let mut client = terminator.client();
        client.send("POST /nowhere HTTP/1.1\r\nhost: a\r\n");
        client.send(body);
        let answer = client.answer();
        assert_eq!(answer.status, 404);
        if answer.header("connection") == Some("close") {
            assert!(client.is_closed());
        } else {
            assert_eq!(client.get("/nowhere").status, 404);
            reused += 1;
        }
    }
    reused
}

#[test]
fn after_a_refused_body_the_connection_is_reused_or_announces_its_close() {
    let terminator = Terminator::start(&[]);
    let sized = |len| format!("content-length: {len}\r\n\r\n{}", "x".repeat(len));
    // Not all 20, because a body may arrive too late to be discarded on a busy machine.
    assert!(refused(&terminator, 20, &sized(100_000)) > 0);
    assert!(refused(&terminator, 20, "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n") > 0);
    for closes in [
        sized(300_000),
        "content-length: 9\r\n\r\nhalf".into(),
        "content-length: 9\r\nexpect: 100-continue\r\n\r\n".into(),
    ] {
        assert_eq!(refused(&terminator, 1, &closes), 0, "{}", &closes[..20]);
    }
}

#[test]
fn a_reply_without_a_status_of_http_is_502() {
    let terminator = Terminator::start(&[]);
    let mut service = terminator.service(&["GET /a"]);
    for status in [0, 101, 600] {
        let mut client = terminator.client();
        client.send("GET /a HTTP/1.1\r\nhost: a\r\n\r\n");
        let request = service.request();
        service.reply(&request, status, &[], b"");
        client.answer().problem(502, "bad_reply");
    }
}

/// The crate `http` would panic at this number of headers.
#[test]
fn a_reply_with_a_head_too_long_is_502() {
    let terminator = Terminator::start(&[]);
    let mut service = terminator.service(&["GET /a"]);
    let mut client = terminator.client();
    let names: Vec<String> = (0..25_000).map(|n| format!("x{n}")).collect();
    let fields: Vec<(&str, &str)> = names.iter().map(|name| (&name[..], "")).collect();
    for method in ["GET", "HEAD"] {
        client.send(format!("{method} /a HTTP/1.1\r\nhost: a\r\n\r\n"));
        let request = service.request();
        service.reply(&request, 200, &fields, b"");
        let answer = if method == "HEAD" { client.head() } else { client.answer() };
        assert_eq!(answer.status, 502);
    }
}

#[test]
fn a_service_that_goes_with_a_post_in_hand_is_502_and_then_503() {
    let terminator = Terminator::start(&[]);
    let mut service = terminator.service(&["POST /a"]);
    let mut client = terminator.client();
    client.send("POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx");
    service.request();
    drop(service);
    client.answer().problem(502, "lost");
    client.send("POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
    client.answer().problem(503, "no_instance");
}

#[test]
fn a_service_at_its_limit_is_503() {
    let terminator = Terminator::start(&[]);
    let mut service = Service::connect(&terminator.bus(), "s", &["GET /a"], 1);
    terminator.until("/peers", |peers| peers[0]["limit"] == 1);
    let mut first = terminator.client();
    first.send("GET /a HTTP/1.1\r\nhost: a\r\n\r\n");
    let request = service.request();
    terminator.client().get("/a").problem(503, "busy");
    service.reply(&request, 200, &[], b"ok");
    assert_eq!(first.answer().text(), "ok");
}

#[test]
fn a_request_above_the_limit_of_those_in_flight_is_503() {
    let terminator = Terminator::start(&["--in-flight-limit", "1"]);
    let mut service = terminator.service(&["GET /a"]);
    let mut first = terminator.client();
    first.send("GET /a HTTP/1.1\r\nhost: a\r\n\r\n");
    let request = service.request();
    let problem = terminator.client().get("/a").problem(503, "shedding");
    assert_eq!(problem["limit"], 1);
    service.reply(&request, 200, &[], b"");
    assert_eq!(first.answer().status, 200);
    first.send("GET /a HTTP/1.1\r\nhost: a\r\n\r\n");
    service.request();
}

#[test]
fn a_connection_above_the_limit_is_503() {
    let terminator = Terminator::start(&["--connection-limit", "1"]);
    let mut first = terminator.client();
    assert_eq!(first.get("/").status, 404);
    let problem = terminator.client().answer().problem(503, "connections");
    assert_eq!(problem["limit"], 1);
    drop(first);
    terminator.until("/stats", |stats| stats["connections_open"] == 0);
    assert_eq!(terminator.client().get("/").status, 404);
}

#[test]
fn a_service_that_does_not_answer_is_504_by_the_routes_own_deadline() {
    let flags = ["--deadline", "1h", "--route-deadline", "GET /a/{id}=500ms"];
    let terminator = Terminator::start(&flags);
    let mut service = terminator.service(&["GET /a/{id}"]);
    let mut client = terminator.client();
    client.send("GET /a/1 HTTP/1.1\r\nhost: a\r\n\r\n");
    let late = service.request();
    assert!((1..=500_000).contains(&late.header().ttl_us), "{}", late.header().ttl_us);
    client.answer().problem(504, "deadline");
    service.reply(&late, 200, &[], b"late");
    client.send("GET /a/2 HTTP/1.1\r\nhost: a\r\n\r\n");
    let request = service.request();
    service.reply(&request, 200, &[], b"in time");
    assert_eq!(client.answer().text(), "in time");
}

#[test]
fn a_broken_body_is_400() {
    let terminator = Terminator::start(&[]);
    let _service = terminator.service(&["POST /a"]);
    let mut client = terminator.client();
    client.send("POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nnot hexadecimal\r\n");
    client.answer().problem(400, "body_broken");
}

#[test]
fn a_problem_of_a_head_request_has_no_body() {
    let terminator = Terminator::start(&[]);
    let mut client = terminator.client();
    client.send("HEAD /nowhere HTTP/1.1\r\nhost: a\r\n\r\n");
    let answer = client.head();
    assert_eq!(answer.status, 404);
    assert_ne!(answer.header("content-length"), Some("0"));
    client.get("/nowhere").problem(404, "no_route");
}

#[test]
fn every_status_that_clients_saw_is_counted_once() {
    let terminator = Terminator::start(&["--workers", "2"]);
    let mut service = terminator.service(&["GET /a"]);
    let mut seen = std::collections::BTreeMap::new();
    for at in 0..40 {
        let mut client = terminator.client();
        let answer = match at % 4 {
            0 => {
                client.send("GET /a HTTP/1.1\r\nhost: a\r\n\r\n");
                let request = service.request();
                service.reply(&request, 201, &[], b"x");
                client.answer()
            }
            1 => client.get("/b"),
            2 => {
                client.send("nonsense\r\n\r\n");
                client.answer()
            }
            _ => {
                client.send("POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
                client.answer()
            }
        };
        *seen.entry(answer.status.to_string()).or_insert(0) += 1;
    }
    let stats = terminator.ask("/stats");
    assert_eq!(stats["statuses"], serde_json::to_value(&seen).unwrap());
    assert_eq!(responses(&stats), 40);
    assert_eq!(stats["requests"], 30);
    assert_eq!(stats["route_latency"]["GET /a"]["count"], 10);
    let shares: u64 = stats["workers"].as_array().unwrap().iter().map(responses).sum();
    assert_eq!(shares, 40);
}

#[test]
fn a_client_that_leaves_is_counted_and_frees_its_place() {
    let terminator = Terminator::start(&["--deadline", "1h"]);
    let mut service = terminator.service(&["GET /a"]);
    let mut client = terminator.client();
    client.send("GET /a HTTP/1.1\r\nhost: a\r\n\r\n");
    service.request();
    client.reset();
    service.until(bus::Kind::Cancel);
    let stats = terminator.until("/stats", |stats| stats["cancelled"] == 1);
    assert_eq!(stats["in_flight"], 0);
    assert_eq!(stats["outstanding"], 0);
    assert_eq!(responses(&stats), 0);
}

#[test]
fn a_head_that_its_client_does_not_finish_is_counted_without_a_status() {
    let terminator = Terminator::start(&[]);
    for piece in ["GET / HTT", "GET / HTTP/1.1\r\nhost: a\r\n"] {
        terminator.client().send(piece);
    }
    // A head that begins in the same packet as a whole request counts too.
    let mut client = terminator.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\nGET");
    client.answer().problem(404, "no_route");
    drop(client);
    // These close between two heads, which is not counted.
    drop(terminator.client());
    terminator.client().get("/").problem(404, "no_route");
    let closed =
        |stats: &serde_json::Value| stats["connections_accepted"] == 5 && stats["connections_open"] == 0;
    let stats = terminator.until("/stats", closed);
    assert_eq!(stats["rejected"]["head_truncated"], 3);
    assert_eq!((responses(&stats), &stats["requests"]), (2, &2.into()));
}
