//! HTTP semantics: methods, bodies, persistence, and which headers are forwarded.

use bus::proto::Header;
use bus::{Flags, HeadWriter, Kind};

use crate::service::field;
use crate::terminator::{Terminator, responses};

#[test]
fn a_request_becomes_an_envelope_and_a_reply_a_response() {
    let terminator = Terminator::start(&[]);
    let mut service = terminator.service(&["GET /a/{id}"]);
    let mut client = terminator.client();
    client.send(
        "GET /a/1?b=c HTTP/1.1\r\nHost: example.org\r\nAccept: text/html\r\nX-Two: 1\r\nX-Two: 2\r\n\r\n",
    );
    let request = service.request();
    assert_eq!(field(&request, ":method"), Some("GET"));
    assert_eq!(field(&request, ":path"), Some("/a/1?b=c"));
    assert_eq!(field(&request, ":authority"), Some("example.org"));
    assert_eq!(field(&request, ":scheme"), Some("http"));
    assert_eq!(field(&request, "accept"), Some("text/html"));
    assert_eq!(request.fields().filter(|(name, _)| *name == b"x-two").count(), 2);
    assert_eq!(field(&request, "host"), None);
    assert!(request.header().flags.contains(Flags::IDEMPOTENT));
    assert!((1..=1_000_000).contains(&request.header().ttl_us));
    service.reply(
        &request,
        200,
        &[("content-type", "text/plain"), ("x-own", "1"), ("content-length", "5")],
        b"hello",
    );
    let answer = client.answer();
    assert_eq!((answer.status, answer.text()), (200, "hello"));
    assert_eq!(answer.header("content-type"), Some("text/plain"));
    assert_eq!(answer.header("x-own"), Some("1"));
    assert!(answer.header("date").is_some());
    assert_eq!(answer.headers.iter().filter(|(name, _)| name == "content-length").count(), 1);
}

#[test]
fn a_service_made_with_the_bus_crate_answers() {
    struct Echo;
    impl bus::Serve for Echo {
        fn serve(&self, request: bus::Incoming) -> bus::Serving {
            let text = format!("{} {}", request.method(), request.path());
            bus::Serving::Now(bus::Response::new(200).field("x-by", "bus").body(text))
        }
    }
    let terminator = Terminator::start(&["--workers", "2"]);
    let mut hello = bus::Hello::new("echo", "1", "one");
    hello.routes = vec!["GET /echo/{*rest}".parse().unwrap()];
    let dial = vec![format!("ipc://{}", terminator.bus().display()).parse().unwrap()];
    let config = bus::Config { dial, hello: Some(hello), ..bus::Config::default() };
    let _workers =
        role::worker::start("echo", role::Scheduling::Inherit, bus::bind(&config, 1).unwrap(), |_, bus| {
            bus.serve(std::rc::Rc::new(Echo));
            Ok(())
        })
        .unwrap();
    terminator.until("/routes", |routes| routes[0]["instances"] == 1);
    for _ in 0..20 {
        let answer = terminator.client().get("/echo/a/b?c");
        assert_eq!((answer.status, answer.text()), (200, "GET /echo/a/b?c"));
        assert_eq!(answer.header("x-by"), Some("bus"));
    }
}

/// `:toggle`, `:pin` and `:priority` are what the edge decides; a client cannot send them.
/// `Priority` is a header of RFC 9218, and the others mean nothing.
#[test]
fn a_client_cannot_set_the_decisions_of_the_edge() {
    let terminator = Terminator::start(&[]);
    let mut service = terminator.service(&["GET /a"]);
    for name in [":toggle", ":pin", ":priority", ": toggle"] {
        let mut client = terminator.client();
        client.send(format!("GET /a HTTP/1.1\r\nhost: a\r\n{name}: high\r\n\r\n"));
        assert_eq!(client.answer().status, 400, "{name}");
    }
    let mut client = terminator.client();
    client
        .send("GET /a HTTP/1.1\r\nhost: a\r\npriority: u=1\r\ntoggle: checkout=short\r\npin: feed=2\r\n\r\n");
    let request = service.request();
    let decided: Vec<_> = request.fields().map(|(name, _)| name).filter(|name| name[0] == b':').collect();
    assert_eq!(decided, [&b":method"[..], b":path", b":authority", b":scheme"]);
    assert_eq!(field(&request, "priority"), Some("u=1"));
    assert_eq!(field(&request, "toggle"), Some("checkout=short"));
    assert!(!request.header().flags.contains(Flags::SHADOW));
    service.reply(&request, 200, &[], b"");
    assert_eq!(client.answer().status, 200);
}

#[test]
fn hop_by_hop_headers_are_dropped_in_both_directions() {
    let terminator = Terminator::start(&[]);
    let mut service = terminator.service(&["POST /a"]);
    let mut client = terminator.client();
    client.send(
        "POST /a HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, X-Secret\r\nx-secret: 1\r\nkeep-alive: 1\r\nte: gzip\r\n\
         upgrade: h2c\r\nproxy-connection: a\r\nx-kept: 1\r\ntrailer: x-t\r\ntransfer-encoding: chunked\r\n\r\n\
         2\r\nab\r\n0\r\nx-t: 1\r\n\r\n",
    );
    let request = service.request();
    for name in [
        "connection",
        "x-secret",
        "keep-alive",
        "te",
        "upgrade",
        "proxy-connection",
        "transfer-encoding",
        "trailer",
    ] {
        assert_eq!(field(&request, name), None, "{name}");
    }
    assert_eq!(field(&request, "x-kept"), Some("1"));
    assert_eq!(request.body_bytes(), b"ab");
    assert!(!request.header().flags.contains(Flags::IDEMPOTENT));
    let fields = [
        ("connection", "x-inner"),
        ("x-inner", "1"),
        ("transfer-encoding", "chunked"),
        ("keep-alive", "1"),
        ("x-split", "a\r\nx-injected: 1"),
        (":status", "500"),
        ("x-kept", "1"),
    ];
    service.reply(&request, 200, &fields, b"ok");
    let answer = client.answer();
    for name in
        ["connection", "x-inner", "transfer-encoding", "keep-alive", "x-split", "x-injected", ":status"]
    {
        assert_eq!(answer.header(name), None, "{name}");
    }
    assert_eq!((answer.header("x-kept"), answer.text()), (Some("1"), "ok"));
    assert_eq!(terminator.ask("/stats")["reply_fields_dropped"], 6);
}

#[test]
fn ids_are_kept_when_sane_and_made_otherwise() {
    let terminator = Terminator::start(&[]);
    let mut service = terminator.service(&["GET /a"]);
    let mut client = terminator.client();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    client.send(format!(
        "GET /a HTTP/1.1\r\nhost: a\r\nx-request-id: abc-1\r\ntraceparent: {trace}\r\ntracestate: a=b\r\n\r\n"
    ));
    let request = service.request();
    assert_eq!(field(&request, "x-request-id"), Some("abc-1"));
    assert_eq!(field(&request, "traceparent"), Some(trace));
    assert_eq!(field(&request, "tracestate"), Some("a=b"));
    assert!(request.header().flags.contains(Flags::SAMPLED));
    service.reply(&request, 200, &[], b"");
    assert_eq!(client.answer().header("x-request-id"), Some("abc-1"));
    client.send(
        "GET /a HTTP/1.1\r\nhost: a\r\nx-request-id: a b\r\ntraceparent: no\r\ntracestate: a=b\r\n\r\n",
    );
    let request = service.request();
    let id = field(&request, "x-request-id").unwrap();
    assert_eq!(id.len(), 32);
    assert_eq!(&field(&request, "traceparent").unwrap()[3..35], id);
    assert_eq!(field(&request, "tracestate"), None);
    assert!(!request.header().flags.contains(Flags::SAMPLED));
    assert_eq!(request.fields().filter(|(name, _)| *name == b"x-request-id").count(), 1);
}

#[test]
fn head_has_the_length_and_no_body() {
    let terminator = Terminator::start(&[]);
    let mut service = terminator.service(&["GET /a"]);
    let mut client = terminator.client();
    for (status, fields, body, length) in [
        (200, &[("content-length", "42")][..], &b""[..], Some("42")),
        (200, &[], b"body", Some("4")),
        (200, &[], b"", None),
        (204, &[("content-length", "42")], b"body", None),
    ] {
        client.send("HEAD /a HTTP/1.1\r\nhost: a\r\n\r\n");
        let request = service.request();
        assert_eq!(field(&request, ":method"), Some("HEAD"));
        service.reply(&request, status, fields, body);
        assert_eq!(client.head().header("content-length"), length);
    }
    client.send("GET /a HTTP/1.1\r\nhost: a\r\n\r\n");
    let request = service.request();
    service.reply(&request, 200, &[], b"next");
    assert_eq!(client.answer().text(), "next");
}

#[test]
fn statuses_without_a_body_have_none() {
    let terminator = Terminator::start(&[]);
    let mut service = terminator.service(&["GET /a"]);
    let mut client = terminator.client();
    for status in [204, 304] {
        client.send("GET /a HTTP/1.1\r\nhost: a\r\n\r\n");
        let request = service.request();
        service.reply(&request, status, &[("etag", "\"1\"")], b"");
        let answer = client.head();
        assert_eq!((answer.status, answer.header("etag")), (status, Some("\"1\"")));
    }
    assert_eq!(client.get("/nowhere").status, 404);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let terminator = Terminator::start(&[]);
    let mut service = terminator.service(&["GET /a/{id}"]);
    let mut client = terminator.client();
    let requests: String = (0..10).map(|at| format!("GET /a/{at} HTTP/1.1\r\nhost: a\r\n\r\n")).collect();
    client.send(requests);
    for _ in 0..10 {
        let request = service.request();
        let path = field(&request, ":path").unwrap().to_owned();
        service.reply(&request, 200, &[], path.as_bytes());
    }
    for at in 0..10 {
        assert_eq!(client.answer().text(), format!("/a/{at}"));
    }
    client.send("GET /nowhere HTTP/1.1\r\nhost: a\r\n\r\nGARBAGE\r\n\r\n");
    client.answer().problem(404, "no_route");
    assert_eq!(client.answer().status, 400);
}

#[test]
fn a_client_that_expects_100_gets_it_before_it_sends() {
    let terminator = Terminator::start(&[]);
    let mut service = terminator.service(&["POST /a"]);
    let mut client = terminator.client();
    client.send("POST /a HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n");
    assert_eq!(client.head().status, 100);
    client.send("body");
    let request = service.request();
    assert_eq!(field(&request, "expect"), None);
    assert_eq!(request.body_bytes(), b"body");
    service.reply(&request, 201, &[], b"made");
    assert_eq!(client.answer().status, 201);
    assert_eq!(responses(&terminator.ask("/stats")), 1);
}

#[test]
fn a_reply_in_parts_is_streamed() {
    let terminator = Terminator::start(&[]);
    let mut service = terminator.service(&["GET /a"]);
    let mut client = terminator.client();
    client.send("GET /a HTTP/1.1\r\nhost: a\r\n\r\n");
    let request = service.request();
    service.part(&request, &[("content-type", "text/plain")], b"one ");
    // The head arrives before the reply is complete, so nothing is collected.
    let answer = client.head();
    assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
    service.part(&request, &[], b"two ");
    service.reply(&request, 200, &[], b"three");
    let mut text = String::new();
    for expected in ["one ", "two ", "three"] {
        text.push_str(&client.chunk());
        assert!("one two three".starts_with(&text) && text.ends_with(expected), "{text:?}");
    }
    assert_eq!(client.chunk(), "");
    assert_eq!(client.get("/nowhere").status, 404);
}

/// `--write-timeout` bounds the client, not the time that the service takes between two parts.
#[test]
fn a_reply_whose_parts_are_long_in_coming_is_not_cut() {
    let terminator =
        Terminator::start(&["--write-timeout", "300ms", "--header-timeout", "300ms", "--deadline", "1h"]);
    let mut service = terminator.service(&["GET /a"]);
    let mut client = terminator.client();
    client.send("GET /a HTTP/1.1\r\nhost: a\r\n\r\n");
    let request = service.request();
    service.part(&request, &[], b"one");
    client.head();
    assert_eq!(client.chunk(), "one");
    // Waits longer than --write-timeout.
    let mut late = terminator.client();
    late.send("GET /a HTTP/1.1\r\n");
    assert_eq!(late.answer().status, 408);
    service.reply(&request, 200, &[], b"two");
    assert_eq!((client.chunk().as_str(), client.chunk().as_str()), ("two", ""));
    assert_eq!(terminator.ask("/stats")["connections_timed_out"], 1);
}

#[test]
fn a_reply_in_parts_that_breaks_off_is_seen_as_truncated() {
    let terminator = Terminator::start(&[]);
    let mut service = terminator.service(&["GET /a"]);
    let mut client = terminator.client();
    client.send("GET /a HTTP/1.1\r\nhost: a\r\n\r\n");
    let request = service.request();
    service.part(&request, &[], b"one");
    client.head();
    assert_eq!(client.chunk(), "one");
    drop(service);
    assert!(client.is_closed(), "without the last chunk");
    terminator.until("/stats", |stats| stats["replies_broken_off"] == 1);
}

#[test]
fn http_1_0_closes_unless_asked_to_stay() {
    let terminator = Terminator::start(&[]);
    let mut service = terminator.service(&["GET /a"]);
    let mut client = terminator.client();
    for (header, stays) in [("connection: keep-alive\r\n", true), ("", false)] {
        client.send(format!("GET /a HTTP/1.0\r\nhost: a\r\n{header}\r\n"));
        let request = service.request();
        service.reply(&request, 200, &[], b"old");
        let answer = client.answer();
        // A response has the version of the server, not of the request (RFC 9110 section 6.2).
        assert_eq!((answer.version.as_str(), answer.text()), ("HTTP/1.1", "old"));
        assert_eq!(answer.header("connection") == Some("keep-alive"), stays);
    }
    assert!(client.is_closed());
}

#[test]
fn connection_close_is_obeyed() {
    let terminator = Terminator::start(&[]);
    let mut client = terminator.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert_eq!(client.answer().status, 404);
    assert!(client.is_closed());
}

#[test]
fn the_request_line_may_be_absolute() {
    let terminator = Terminator::start(&[]);
    let mut service = terminator.service(&["GET /a"]);
    let mut client = terminator.client();
    client.send("GET http://real.example/a?b HTTP/1.1\r\nhost: other\r\n\r\n");
    let request = service.request();
    assert_eq!(field(&request, ":path"), Some("/a?b"));
    assert_eq!(field(&request, ":authority"), Some("real.example"));
}

#[test]
fn a_reply_with_a_foreign_origin_is_ignored() {
    let terminator = Terminator::start(&[]);
    let mut service = terminator.service(&["GET /a"]);
    let mut client = terminator.client();
    client.send("GET /a HTTP/1.1\r\nhost: a\r\n\r\n");
    let request = service.request();
    let mut foreign = Header { status: 200, ..request.header() };
    foreign.kind = Kind::Reply;
    foreign.correlation.origin.0 ^= 1;
    service.send(foreign, |_: &mut HeadWriter<'_>| {}, b"not yours");
    service.reply(&request, 200, &[], b"yours");
    assert_eq!(client.answer().text(), "yours");
}

#[test]
fn options_of_the_server_lists_the_methods() {
    let terminator = Terminator::start(&[]);
    let mut client = terminator.client();
    for target in ["*", "http://a"] {
        client.send(format!("OPTIONS {target} HTTP/1.1\r\nhost: a\r\n\r\n"));
        let answer = client.head();
        assert_eq!((answer.status, answer.header("content-length")), (204, None));
        assert!(answer.header("allow").unwrap().contains("GET, HEAD, POST"));
    }
    client.send("OPTIONS /nowhere HTTP/1.1\r\nhost: a\r\n\r\n");
    client.answer().problem(404, "no_route");
}

#[test]
fn a_later_minor_version_is_served_and_another_major_one_is_505() {
    let terminator = Terminator::start(&[]);
    let mut client = terminator.client();
    client.send("GET /nowhere HTTP/1.2\r\nhost: a\r\n\r\n");
    client.answer().problem(404, "no_route");
    client.send("GET /nowhere HTTP/2.0\r\nhost: a\r\n\r\n");
    client.answer().problem(505, "version");
    assert!(client.is_closed());
}
