//! Requests that are answered without hyper get what hyper would have answered.
//!
//! An empty line before a request means nothing (RFC 9112 section 2.2), but such a request is left to hyper: the same bytes on
//! both roads.

use bus::Envelope;

use crate::client::{Answer, Client};
use crate::service::{Service, field};
use crate::terminator::Terminator;

const GET: &str = "GET /a?b=%20c HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// Requests so far that were plain.
fn plain(terminator: &Terminator) -> u64 {
    terminator.ask("/stats")["requests_plain"].as_u64().unwrap()
}

/// What both roads have to agree in: all but the id of the request and the time.
fn essence(answer: Answer) -> (u16, String, Vec<(String, String)>, Vec<u8>) {
    let Answer { status, version, mut headers, body } = answer;
    headers.retain(|(name, value)| name != "x-request-id" && !(name == "date" && value.ends_with("GMT")));
    headers.sort();
    let body = match serde_json::from_slice::<serde_json::Value>(&body) {
        Ok(mut problem) => {
            problem.as_object_mut().unwrap().remove("request_id");
            problem.to_string().into_bytes()
        }
        Err(_) => body,
    };
    (status, version, headers, body)
}

/// The fields of a request, less what is made anew for each.
fn fields(request: &Envelope) -> Vec<(Vec<u8>, Vec<u8>)> {
    let made = |name: &[u8]| name == b"x-request-id" || name == b"traceparent";
    let fields = request.fields().filter(|(name, _)| !made(name));
    fields.map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

#[test]
fn a_plain_request_is_sent_as_hypers_is() {
    let terminator = Terminator::start(&["--forwarded", "append"]);
    let mut service = terminator.service(&["GET /a/{*rest}"]);
    for (target, headers) in [
        ("/a/b", "Host: a.example:80\r\n"),
        (
            "/a/b?c=d&e=%2f;f",
            "host:a\r\nACCEPT:  text/html \r\nx-Custom: \u{e9}\r\ncookie: a=b\r\nCookie: c\r\n",
        ),
        (
            "/a//..%00/*",
            "Connection: Keep-Alive\r\nKeep-Alive: 5\r\nTE: trailers\r\nHost: [::1]\r\nX-Empty:\r\n",
        ),
        (
            "/a/b",
            "host: a\r\nx-forwarded-for: 1.2.3.4\r\nx-Forwarded-For: 5.6.7.8\r\nx-forwarded-proto: https\r\n",
        ),
        ("/a/b", "host: a\r\ntracestate: a=b\r\nx-forwarded-host: b\r\n"),
    ] {
        let mut client = terminator.client();
        let head = format!("GET {target} HTTP/1.1\r\n{headers}\r\n");
        let sent = ["", "\r\n"].map(|before| {
            let plain_before = plain(&terminator);
            client.send(format!("{before}{head}"));
            let request = service.request();
            service.reply(&request, 200, &[], b"");
            assert_eq!(client.answer().status, 200);
            assert_eq!(plain(&terminator) - plain_before, u64::from(before.is_empty()), "{head:?}");
            fields(&request)
        });
        assert_eq!(sent[0], sent[1], "{head:?}");
    }
}

#[test]
fn a_plain_body_is_sent_as_hypers_is() {
    let terminator = Terminator::start(&["--body-limit", "2048"]);
    let methods = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];
    let mut service =
        terminator.service(&methods.map(|method| format!("{method} /a")).each_ref().map(|route| &route[..]));
    for method in methods {
        for len in [0, 1, 2048] {
            let mut client = terminator.client();
            let sent = ["", "\r\n"].map(|before| {
                let plain_before = plain(&terminator);
                let head =
                    format!("{before}{method} /a HTTP/1.1\r\nhost: a\r\nContent-Length: {len}\r\n\r\n");
                client.send([head.as_bytes(), &vec![b'x'; len]].concat());
                let request = service.request();
                service.reply(&request, 200, &[], b"");
                assert_eq!(client.answer().status, 200);
                assert_eq!(plain(&terminator) - plain_before, u64::from(before.is_empty()), "{method} {len}");
                assert_eq!(request.body_bytes().len(), len);
                (request.header().flags, fields(&request))
            });
            assert_eq!(sent[0], sent[1], "{method} {len}");
        }
    }
    let mut client = terminator.client();
    client.send([b"POST /a HTTP/1.1\r\nhost: a\r\nContent-Length: 2049\r\n\r\n", &[b'x'; 2049][..]].concat());
    client.answer().problem(413, "body_too_large");
}

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
    assert_eq!(plain(&terminator), 1);
}

#[test]
fn a_response_is_written_as_hyper_writes_it() {
    let terminator = Terminator::start(&[]);
    let mut service = terminator.service(&["GET /a"]);
    let long = vec![b'x'; 300_000];
    let cookies = [("set-cookie", "a"), ("x-b", "\u{e9}\tc"), ("set-cookie", "b"), ("content-length", "7")];
    let dated = [("date", "yesterday"), ("connection", "x-inner"), ("x-inner", "1"), ("server", "s")];
    let bodies: [&[u8]; 3] = [b"", b"body", &long];
    for status in [200, 201, 202, 204, 206, 299, 301, 304, 404, 418, 500, 599, 100, 600] {
        for (fields, body) in [&cookies[..], &dated, &[]].into_iter().zip(bodies) {
            let mut client = terminator.client();
            let plain_before = plain(&terminator);
            let answers = ["", "\r\n"].map(|before| {
                client.send(format!("{before}{}", GET));
                let request = service.request();
                service.reply(&request, status, fields, body);
                // Neither has a body, nor says a length.
                essence(if matches!(status, 204 | 304) { client.head() } else { client.answer() })
            });
            assert_eq!(answers[0], answers[1], "{status}, {} bytes", body.len());
            assert_eq!(plain(&terminator), plain_before + 1);
            assert_eq!(client.get("/nowhere").status, 404, "{status}, {} bytes", body.len());
        }
    }
}

/// Bytes that are changed, doubled, left out or put in anywhere: whatever comes of it, both roads say the same of it, and the
/// connection is in the same state afterwards.
#[test]
fn what_is_wrong_with_a_request_is_found_on_both_roads() {
    const CASES: usize = 1000;
    let seed: u64 =
        std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let terminator = Terminator::start(&["--header-timeout", "400ms", "--body-timeout", "200ms"]);
    let heads = [
        GET,
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: keep-alive\r\nx-long-name: some value, and more\r\n\r\n",
        "GET /a/b/c?d HTTP/1.1\r\nHost: a:80\r\nExpect: x\r\nupgrade: a\r\nTe: b\r\n\r\n",
        "GET /a HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\ntransfer-encoding: chunked\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Type: a/b\r\n\r\n",
        "DELETE /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\n",
    ];
    let pieces: [&[u8]; 12] = [
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b" ",
        b":",
        b"\x7f",
        b"\xff",
        b"#",
        b"//",
        b"HTTP/1.0",
        b"Host: b\r\n",
    ];
    for case in 0..CASES {
        let chosen = random.choice(heads).unwrap().trim_end();
        let mut head = chosen.as_bytes().to_vec();
        for _ in 0..random.usize(0..4) {
            let at = random.usize(0..head.len());
            match random.u8(0..4) {
                0 => head[at] = random.u8(..),
                1 => drop(head.remove(at)),
                2 => head.insert(at, head[at]),
                _ => drop(head.splice(at..at, random.choice(pieces).unwrap().iter().copied())),
            }
        }
        head.extend_from_slice(if chosen.contains("Length: 4") { b"\r\n\r\nbody" } else { b"\r\n\r\n" });
        let seen = [&b""[..], b"\r\n"].map(|before| {
            let mut client = terminator.client();
            client.send([before, &head].concat());
            let mut answers = Vec::new();
            while !client.is_closed() {
                answers.push(essence(client.answer()));
                if answers.len() == 1 {
                    // Meets what is left of the first.
                    client.try_send("GET /next HTTP/1.1\r\nhost: a\r\n\r\n");
                } else if is_next(&answers.last().unwrap().3) {
                    break;
                }
            }
            answers
        });
        assert_eq!(seen[0], seen[1], "case {case} of SEED={seed}: {:?}", String::from_utf8_lossy(&head));
    }
    assert!(plain(&terminator) > CASES as u64 / 4, "too few of the cases were plain");
}

fn is_next(problem: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(problem).is_ok_and(|problem| problem["instance"] == "/next")
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
fn requests_behind_a_plain_one_are_answered_in_their_order() {
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
fn a_reply_in_parts_to_a_plain_request_is_streamed_and_the_connection_goes_on() {
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
    assert!(plain(&terminator) >= 1);
}

#[test]
fn a_client_that_leaves_cancels_its_plain_request() {
    let terminator = Terminator::start(&["--deadline", "1h"]);
    let mut service = terminator.service(&["GET /a"]);
    let mut client: Client = terminator.client();
    client.send(GET);
    let request = service.request();
    drop(client);
    let cancel = service.until(bus::Kind::Cancel);
    assert_eq!(cancel.header().correlation, request.header().correlation);
    let stats = terminator.until("/stats", |stats| stats["connections_open"] == 0);
    assert_eq!(
        (&stats["client_gone"], &stats["outstanding"], &stats["requests_plain"]),
        (&1.into(), &0.into(), &1.into())
    );
}

/// A drain that has begun with a plain request under way, and `behind` it on its connection.
fn drain_with(behind: &str) -> (Terminator, Service, Client, Envelope) {
    let terminator = Terminator::start(&["--deadline", "1h", "--drain-deadline", "1h"]);
    let mut service = terminator.service(&["GET /a"]);
    let (mut client, mut idle) = (terminator.client(), terminator.client());
    assert_eq!(idle.get("/nowhere").status, 404);
    client.send(GET);
    let request = service.request();
    assert_eq!(plain(&terminator), 2);
    client.send(behind);
    terminator.signal("TERM");
    assert!(idle.is_closed());
    (terminator, service, client, request)
}

#[test]
fn a_plain_request_under_way_is_the_last_of_its_connection_in_a_drain() {
    let (mut terminator, mut service, mut client, request) = drain_with("");
    terminator.ends_with(&mut service, &request, &mut client);
}

/// A reset takes from a slow client what it has not read of its response.
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

/// The process stands still meanwhile, so that it finds signal and requests at once.
#[test]
fn what_came_before_a_drain_is_served_on_connections_old_and_new() {
    for rests in [false, true] {
        let mut terminator = Terminator::start(&["--drain-deadline", "1h"]);
        let mut old = terminator.client();
        assert_eq!(old.get("/nowhere").status, 404);
        if rests {
            terminator.until("/stats", |stats| stats["connections_rested"] == 1);
        }
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
}

/// Nor does a drain that begins when the response has been written, and the client is still busy sending.
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
    // The first byte that meets a closed socket is answered with a reset, which the next ones meet.
    (0..10).for_each(|_| client.send("more"));
    assert_eq!(client.answer().status, 404);
    assert!(client.has_ended());
    drop(client);
    let (status, log) = terminator.end_of();
    assert_eq!(status.code(), Some(0), "{log}");
}

/// A body that nobody reads stays a body when hyper is sent away behind the response.
#[test]
fn an_unread_body_is_never_taken_for_a_request() {
    let terminator = Terminator::start(&[]);
    let inner = "GET /smuggled HTTP/1.1\r\nhost: a\r\nx-request-id: smuggled\r\n\r\n";
    let chunk = format!("{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len());
    let sized = format!("content-length: {}\r\n\r\n{inner}", inner.len());
    let expected = format!("expect: 100-continue\r\n{sized}");
    let in_two = format!("transfer-encoding: chunked\r\n\r\n1\r\nx\r\n{chunk}");
    for body in [sized, expected, in_two, format!("transfer-encoding: chunked\r\n\r\n{chunk}")] {
        for before in ["", "\r\n"] {
            let mut client = terminator.client();
            client
                .send(format!("{before}POST /nowhere HTTP/1.1\r\nhost: a\r\nx-request-id: outer\r\n{body}"));
            assert_eq!(client.answer().header("x-request-id"), Some("outer"));
            client.try_send("GET /next HTTP/1.1\r\nhost: a\r\nx-request-id: next\r\n\r\n");
            if !client.is_closed() {
                assert_eq!(client.answer().header("x-request-id"), Some("next"), "{before:?} {body:?}");
            }
        }
    }
}
