//! The life of the process: refused settings, the admin listener, logs, signals and the drain.

use std::net::TcpListener;

use crate::client::Client;
use crate::service::Service;
use crate::terminator::{Terminator, run};

#[test]
fn a_request_in_flight_finishes_after_sigterm_and_the_exit_is_0() {
    let mut terminator = Terminator::start(&["--deadline", "1h"]);
    let mut service = terminator.service(&["GET /a"]);
    let mut idle = terminator.client();
    assert_eq!(idle.get("/").status, 404);
    let mut busy = terminator.client();
    busy.send("GET /a HTTP/1.1\r\nhost: a\r\n\r\n");
    let request = service.request();
    let mut operator = Client::connect(&terminator.admin.to_string());
    assert_eq!(operator.get("/ready").status, 200);
    terminator.signal("TERM");
    terminator.until_logged("draining");
    assert!(idle.is_closed());
    let not_ready = operator.get("/ready").problem(503, "not_ready");
    assert_eq!(not_ready["detail"], "Draining.");
    assert_eq!(operator.get("/live").status, 200);
    service.reply(&request, 200, &[], b"finished");
    let answer = busy.answer();
    assert_eq!((answer.status, answer.text()), (200, "finished"));
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(busy.is_closed());
    let (status, log) = terminator.end_of();
    assert_eq!(status.code(), Some(0), "{log}");
}

/// Otherwise a long poll would keep its successor from starting.
#[test]
fn every_port_is_free_when_the_drain_begins() {
    let mut old = Terminator::start(&["--deadline", "1h", "--drain-deadline", "1h"]);
    let mut service = old.service(&["GET /a"]);
    let (mut client, mut idle) = (old.client(), old.client());
    assert_eq!(idle.get("/").status, 404);
    client.send("GET /a HTTP/1.1\r\nhost: a\r\n\r\n");
    let request = service.request();
    old.signal("TERM");
    assert!(idle.is_closed());
    let bus = format!("ipc://{}", old.bus().display());
    let (http, admin) = (old.http[0].clone(), old.admin.to_string());
    // The control thread may be some microseconds behind the worker.
    while TcpListener::bind(&admin).is_err() {
        std::thread::yield_now();
    }
    let new = Terminator::start_at(&["--http", &http, "--admin", &admin, "--bus-listen", &bus]);
    let _service = Service::connect(&old.bus(), "s", &["GET /a"], 0);
    new.until("/routes", |routes| routes[0]["pattern"] == "GET /a");
    old.ends_with(&mut service, &request, &mut client);
    assert!(old.bus().exists(), "it is the successor's");
}

#[test]
fn a_second_signal_ends_it_at_once_with_1() {
    let mut terminator = Terminator::start(&["--deadline", "1h", "--drain-deadline", "1h"]);
    let mut service = terminator.service(&["GET /a"]);
    let mut client = terminator.client();
    client.send("GET /a HTTP/1.1\r\nhost: a\r\n\r\n");
    service.request();
    terminator.signal("TERM");
    terminator.until_logged("draining");
    // Signals within the first second count as repetitions of the first.
    while !terminator.has_ended() {
        terminator.signal("INT");
    }
    let (status, log) = terminator.end_of();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("second signal"), "{log}");
}

/// `timeout` sends SIGTERM to its child and then to its group.
#[test]
fn a_signal_that_comes_twice_at_once_is_one() {
    let mut terminator = Terminator::start(&["--deadline", "1h", "--drain-deadline", "1h"]);
    let mut service = terminator.service(&["GET /a"]);
    let mut client = terminator.client();
    client.send("GET /a HTTP/1.1\r\nhost: a\r\n\r\n");
    let request = service.request();
    // Two different signals, because the kernel merges equal ones that are pending.
    terminator.signals(&["TERM", "INT"]);
    terminator.until_logged("draining");
    service.reply(&request, 200, &[], b"finished");
    assert_eq!(client.answer().text(), "finished");
    let (status, log) = terminator.end_of();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[test]
fn the_drain_has_a_deadline() {
    let mut terminator = Terminator::start(&["--deadline", "1h", "--drain-deadline", "100ms"]);
    let mut service = terminator.service(&["GET /a"]);
    let mut client = terminator.client();
    client.send("GET /a HTTP/1.1\r\nhost: a\r\n\r\n");
    service.request();
    terminator.signal("TERM");
    let (status, log) = terminator.end_of();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("--drain-deadline"), "{log}");
}

#[test]
fn unix_sockets_serve_and_their_files_go() {
    let dir = tempfile::tempdir().unwrap();
    let address = format!("unix:{}", dir.path().join("http.sock").display());
    let mut terminator = Terminator::start(&[
        "--http",
        &address,
        "--http",
        "127.0.0.1:0",
        "--http",
        "[::1]:0",
        "--workers",
        "2",
    ]);
    assert_eq!(terminator.http.len(), 3);
    let mut service = terminator.service(&["GET /a"]);
    let mut client = Client::connect(&address);
    client.send("GET /a HTTP/1.1\r\nhost: a\r\n\r\n");
    let request = service.request();
    assert_eq!(request.field("x-forwarded-for"), None);
    assert_eq!(request.field("x-forwarded-proto"), Some(&b"http"[..]));
    service.reply(&request, 200, &[], b"local");
    assert_eq!(client.answer().text(), "local");
    for http in &terminator.http[1..] {
        assert_eq!(Client::connect(http).get("/").status, 404);
    }
    let (code, said) = run(&["--http", &address, "--bus-listen", "inproc://a", "--admin", "127.0.0.1:0"]);
    assert_eq!(code, Some(1));
    assert!(said.contains(&address), "{said}");
    drop(client);
    terminator.signal("TERM");
    assert_eq!(terminator.end_of().0.code(), Some(0));
    assert!(!dir.path().join("http.sock").exists());
}

#[test]
fn an_address_in_use_is_named_and_the_exit_is_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for workers in ["1", "2"] {
        let flags = ["--bus-listen", "inproc://a", "--workers", workers];
        let (code, said) = run(&[&["--http", &address, "--admin", "127.0.0.1:0"], &flags[..]].concat());
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(&format!("--http {address}")) && said.contains("in use"), "{said}");
        let (code, said) = run(&[&["--http", "127.0.0.1:0", "--admin", &address], &flags[..]].concat());
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(&format!("--admin {address}")), "{said}");
    }
    let bus = format!("tcp://{address}");
    let (code, said) = run(&["--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--bus-listen", &bus]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&bus), "{said}");
}

#[test]
fn what_is_wrong_in_the_settings_is_named_and_the_exit_is_2() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("terminator.toml");
    std::fs::write(&file, "bus-listen = [\"inproc://a\"]\nheader-limit = 8192\ndeadlin = \"1s\"\n").unwrap();
    let (code, said) = run(&["--config", file.to_str().unwrap()]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("`deadlin`") && said.contains("deadline"), "{said}");
    for (flags, wanted) in [
        (&["--bus-listen", "udp://a:1"][..], "udp://a:1"),
        (&[], "--bus-listen"),
        (&["--bus-listen", "inproc://a", "--http", "here"], "here"),
        (&["--bus-listen", "inproc://a", "--log", "loud"], "loud"),
        (&["--bus-listen", "inproc://a", "--body-limit", "9999999"], "9999999"),
    ] {
        let (code, said) = run(flags);
        assert_eq!(code, Some(2), "{flags:?}: {said}");
        assert!(said.contains(wanted), "{flags:?}: {said}");
    }
}

#[test]
fn the_file_is_read_and_flags_win_over_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("terminator.toml");
    let text = "body-limit = 5\nheader-count = 50\nworkers = 2\n[route-deadline]\n\"GET /a\" = \"70ms\"\n";
    std::fs::write(&file, text).unwrap();
    let terminator = Terminator::start(&["--config", file.to_str().unwrap(), "--body-limit", "6"]);
    let mut service = terminator.service(&["GET /a", "POST /a"]);
    assert_eq!(terminator.ask("/ready")["workers"], 2);
    let mut client = terminator.client();
    client.send("GET /a HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(service.request().header().ttl_us <= 70_000);
    client.answer().problem(504, "deadline");
    client.send("POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 7\r\n\r\nabcdefg");
    assert_eq!(client.answer().problem(413, "body_too_large")["limit"], 6);
}

#[test]
fn the_admin_listener_says_what_there_is() {
    let terminator = Terminator::start(&[]);
    let ask = |path: &str| Client::connect(&terminator.admin.to_string()).get(path);
    assert_eq!(ask("/live").status, 200);
    assert_eq!(terminator.ask("/ready")["services_connected"], 0);
    for path in ["/live", "/ready", "/routes", "/peers", "/stats", "/metrics", "/config", "/log"] {
        assert!(terminator.ask("/")[path].is_string(), "{path}");
    }
    ask("/nothing").problem(404, "no_route");
    let mut client = Client::connect(&terminator.admin.to_string());
    client.send("POST /live HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
    client.answer().problem(405, "method");
    let mut service = terminator.service(&["GET /a/{id}"]);
    assert_eq!(terminator.ask("/ready")["services_connected"], 1);
    let mut client = terminator.client();
    client.send("GET /a/1 HTTP/1.1\r\nhost: a\r\n\r\n");
    let request = service.request();
    service.reply(&request, 200, &[], b"");
    client.answer();
    let peer = &terminator.ask("/peers")[0];
    assert_eq!(peer["service"], "s");
    assert_eq!(peer["instance"], "test");
    assert_eq!(peer["routes"][0], "GET /a/{id}");
    assert_eq!((&peer["requests"], &peer["replies"]), (&1.into(), &1.into()));
    let stats = terminator.ask("/stats");
    let route = &stats["route_latency"]["GET /a/{id}"];
    assert_eq!(route["count"], 1);
    assert!(route["p99_us"].as_u64().unwrap() > 0);
    assert!(stats["bus.requests.sent"].as_u64().unwrap() > 0);
    assert!(stats["received_bytes"].as_u64().unwrap() > 0 && stats["sent_bytes"].as_u64().unwrap() > 0);
}

#[test]
fn every_request_has_a_line_in_the_access_log() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("access.log");
    let mut terminator = Terminator::start(&["--access-log", file.to_str().unwrap()]);
    let mut service = terminator.service(&["GET /a/{id}"]);
    let mut client = terminator.client();
    client.send("GET /a/1?b HTTP/1.1\r\nhost: a\r\nx-request-id: one\r\n\r\n");
    let request = service.request();
    service.reply(&request, 200, &[], b"12345");
    client.answer();
    client.get("/b");
    client.send("GET /c#d HTTP/1.1\r\nhost: a\r\n\r\n");
    let unread = client.answer();
    drop(client);
    terminator.signal("TERM");
    assert_eq!(terminator.end_of().0.code(), Some(0));
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!(lines[0]["path"], "/a/1?b");
    assert_eq!(lines[0]["route"], "GET /a/{id}");
    assert_eq!(lines[0]["request_id"], "one");
    assert_eq!(lines[0]["body_bytes"], 5);
    assert_eq!(lines[0]["client"], "127.0.0.1");
    assert_eq!((&lines[1]["status"], &lines[1]["route"]), (&404.into(), &serde_json::Value::Null));
    assert_eq!(
        (&lines[2]["status"], &lines[2]["method"], &lines[2]["path"]),
        (&400.into(), &"-".into(), &"".into())
    );
    assert_eq!(lines[2]["request_id"], unread.header("x-request-id").unwrap());
}

#[test]
fn figures_go_to_statsd() {
    let daemon = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    daemon.set_read_timeout(Some(crate::PATIENCE)).unwrap();
    let target = daemon.local_addr().unwrap().to_string();
    let flags = ["--statsd", &target, "--statsd-interval", "50ms", "--statsd-prefix", "edge"];
    let terminator = Terminator::start(&flags);
    assert_eq!(terminator.client().get("/nowhere").status, 404);
    let mut packet = [0; 2048];
    loop {
        let len = daemon.recv(&mut packet).unwrap();
        let text = std::str::from_utf8(&packet[..len]).unwrap();
        if text.lines().any(|line| line.starts_with("edge.requests:1|c")) {
            return;
        }
    }
}

#[test]
fn what_cannot_be_opened_is_named_as_it_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let (socket, log) = (missing.join("x.sock"), missing.join("x.log"));
    let http = format!("unix:{}", socket.display());
    let bus = format!("ipc://{}", socket.display());
    let admin = ["--admin", "127.0.0.1:0"];
    let said = |flags: &[&str]| {
        let (code, said) = run(&[&admin[..], flags].concat());
        assert_eq!(code, Some(1), "{said}");
        said
    };
    let text = said(&["--bus-listen", "inproc://a", "--http", &http]);
    let wanted = format!("--http {http}: cannot be bound: the directory {} is missing", missing.display());
    assert!(text.contains(&wanted) && !text.contains("another process"), "{text}");
    let text = said(&["--bus-listen", &bus, "--http", "127.0.0.1:0"]);
    assert!(text.contains(&format!("--bus-listen: cannot listen on {bus}")), "{text}");
    let log = log.to_str().unwrap();
    let text = said(&["--bus-listen", "inproc://a", "--http", "127.0.0.1:0", "--access-log", log]);
    assert!(text.contains(&format!("--access-log {log}: cannot be written")), "{text}");
}
