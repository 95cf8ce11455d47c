//! The limits of size, time and number: what a client sees that exceeds one.

use crate::terminator::{Terminator, responses};

#[test]
fn files_are_left_for_operators_when_clients_take_all_that_there_are() {
    let terminator = Terminator::start_limited(64, &[]);
    // Half of the 64 files are reserved for everything that is not a client.
    let clients: Vec<_> = (0..32).map(|_| terminator.client()).collect();
    terminator.until("/stats", |stats| stats["connections_open"] == 32);
    for _ in 0..40 {
        terminator.client().answer().problem(503, "connections");
    }
    assert_eq!(terminator.ask("/live")["live"], true);
    drop(clients);
    terminator.until("/stats", |stats| stats["connections_open"] == 0);
    assert_eq!(terminator.client().get("/nowhere").status, 404);
}

#[test]
fn an_announced_body_over_the_limit_is_413_before_it_is_read() {
    let terminator = Terminator::start(&["--body-limit", "10"]);
    let _service = terminator.service(&["POST /a"]);
    let mut client = terminator.client();
    client.send("POST /a HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 11\r\n\r\n");
    let problem = client.answer().problem(413, "body_too_large");
    assert_eq!(problem["limit"], 10);
    assert!(problem["remedy"].as_str().unwrap().contains("--body-limit"));
    for length in
        ["9223372036854775807", "18446744073709551615", "18446744073709551616", "9999999999999999999999999"]
    {
        let mut client = terminator.client();
        client.send(format!("POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n"));
        client.answer().problem(413, "body_too_large");
    }
}

#[test]
fn a_chunked_body_over_the_limit_is_413_while_it_is_read() {
    let terminator = Terminator::start(&["--body-limit", "10"]);
    let mut service = terminator.service(&["POST /a"]);
    let mut client = terminator.client();
    client.send(
        "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n6\r\nabcdef\r\n5\r\nghijk\r\n",
    );
    client.answer().problem(413, "body_too_large");
    let mut client = terminator.client();
    client.send("POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n6\r\nabcdef\r\n4\r\nghij\r\n0\r\n\r\n");
    let request = service.request();
    assert_eq!(request.body_bytes(), b"abcdefghij");
    service.reply(&request, 200, &[], b"");
    assert_eq!(client.answer().status, 200);
}

#[test]
fn the_longest_body_passes_and_a_client_that_still_sends_sees_413() {
    let terminator = Terminator::start(&[]);
    let mut service = terminator.service(&["PUT /a"]);
    let limit = (1 << 20) - 32 - 2 * (32 << 10) - 4096;
    let mut client = terminator.client();
    client.send(format!("PUT /a HTTP/1.1\r\nhost: a\r\ncontent-length: {limit}\r\n\r\n"));
    client.send(vec![7; limit]);
    let request = service.request();
    assert!(request.body_bytes() == vec![7; limit]);
    service.reply(&request, 204, &[], b"");
    assert_eq!(client.head().status, 204);
    let over = 4 * limit;
    client.send(format!("PUT /a HTTP/1.1\r\nhost: a\r\ncontent-length: {over}\r\n\r\n"));
    client.try_send(vec![7; over]);
    let problem = client.answer().problem(413, "body_too_large");
    assert_eq!(problem["limit"], limit);
}

#[test]
fn a_head_over_the_limit_is_431_and_a_request_line_414() {
    let terminator = Terminator::start(&["--header-limit", "8192"]);
    let long = "a".repeat(9000);
    let mut client = terminator.client();
    client.send(format!("GET / HTTP/1.1\r\nhost: a\r\nx-long: {long}\r\n\r\n"));
    let problem = client.answer().problem(431, "head_too_large");
    assert_eq!(problem["limit"], 8192);
    let mut client = terminator.client();
    client.send(format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n"));
    client.answer().problem(414, "uri_too_long");
    let mut client = terminator.client();
    client.send(format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x-a: b\r\n".repeat(101)));
    client.answer().problem(431, "head_too_large");
}

#[test]
fn the_number_of_headers_is_a_setting() {
    let terminator = Terminator::start(&["--header-count", "3"]);
    let head = |count: usize| format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x-a: b\r\n".repeat(count - 1));
    let mut client = terminator.client();
    client.send(head(3));
    client.answer().problem(404, "no_route");
    client.send(head(4));
    client.answer().problem(431, "head_too_large");
}

#[test]
fn a_head_that_does_not_come_is_408_and_silence_is_closed() {
    let terminator = Terminator::start(&["--header-timeout", "300ms"]);
    let mut slow = terminator.client();
    slow.send("GET / HTTP/1.1\r\nhost");
    let problem = slow.answer().problem(408, "head_timeout");
    assert_eq!(problem["limit"], 300);
    assert!(slow.is_closed());
    assert!(terminator.client().is_closed());
    let stats = terminator.until("/stats", |stats| stats["connections_open"] == 0);
    assert_eq!(stats["connections_timed_out"], 2);
    assert_eq!(stats["statuses"]["408"], 1);
}

#[test]
fn an_idle_connection_is_closed_after_its_time() {
    let terminator = Terminator::start(&["--idle-timeout", "300ms"]);
    let mut client = terminator.client();
    assert_eq!(client.get("/").status, 404);
    assert!(client.is_closed());
}

#[test]
fn a_body_that_does_not_come_is_408() {
    let terminator = Terminator::start(&["--body-timeout", "300ms"]);
    let _service = terminator.service(&["POST /a"]);
    let mut client = terminator.client();
    client.send("POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf");
    let answer = client.answer();
    answer.problem(408, "body_timeout");
    assert_eq!(answer.header("connection"), Some("close"));
}

#[test]
fn a_client_that_takes_nothing_is_closed() {
    let terminator = Terminator::start(&["--write-timeout", "300ms"]);
    let mut service = terminator.service(&["GET /a"]);
    let mut client = terminator.client();
    // Twenty of them are more than the kernel buffers for a socket that is never read.
    let body = vec![7; 900_000];
    for _ in 0..20 {
        client.send("GET /a HTTP/1.1\r\nhost: a\r\n\r\n");
    }
    terminator.until("/stats", |stats| stats["connections_open"] == 1);
    for responses in 1..=20 {
        if terminator.ask("/stats")["connections_open"] == 0 {
            break;
        }
        let request = service.request();
        service.reply(&request, 200, &[], &body);
        let progressed = |stats: &serde_json::Value| {
            let next = stats["outstanding"] == 1 || responses == 20;
            stats["connections_open"] == 0 || (self::responses(stats) == responses && next)
        };
        terminator.until("/stats", progressed);
    }
    let stats = terminator.until("/stats", |stats| stats["connections_open"] == 0);
    assert_eq!(stats["connections_timed_out"], 1);
}
