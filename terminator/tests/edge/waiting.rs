//! Requests that wait for an instance (`--hold`), and services that are expected (`--expect`).

use crate::client::Client;
use crate::service::{Service, field};
use crate::terminator::{Terminator, responses};

const GET: &str = "GET /a HTTP/1.1\r\nhost: a\r\n\r\n";
const POST: &str = "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody";

/// Waits until `count` requests in all have been held.
fn until_held(terminator: &Terminator, count: u64) {
    terminator.until("/stats", |stats| stats["bus.requests.held"] == count);
}

/// A terminator whose only service has joined and left.
fn abandoned(flags: &[&str]) -> Terminator {
    let terminator = Terminator::start(flags);
    drop(terminator.service(&["GET /a", "POST /a"]));
    terminator
        .until("/routes", |routes| routes.as_array().unwrap().iter().all(|route| route["instances"] == 0));
    terminator
}

#[test]
fn a_request_waits_for_an_instance_and_is_sent_once() {
    let terminator = abandoned(&["--hold", "1h", "--deadline", "1h"]);
    let mut clients = [GET, POST].map(|text| {
        let mut client = terminator.client();
        client.send(text);
        client
    });
    until_held(&terminator, 2);
    let mut other = Service::connect(&terminator.bus(), "other", &["GET /other"], 0);
    let mut service = Service::connect(&terminator.bus(), "s", &["GET /a", "POST /a"], 0);
    for _ in 0..2 {
        let request = service.request();
        let method = field(&request, ":method").unwrap();
        assert_eq!(request.body_bytes(), if method == "POST" { &b"body"[..] } else { b"" });
        service.reply(&request, 200, &[], method.as_bytes());
    }
    assert_eq!(clients.each_mut().map(|client| client.answer().text().to_owned()), ["GET", "POST"]);
    // A route without a wait is served as usual afterwards.
    let mut client = terminator.client();
    client.send("GET /other HTTP/1.1\r\nhost: a\r\n\r\n");
    let request = other.request();
    other.reply(&request, 200, &[], b"");
    assert_eq!(client.answer().status, 200);
    let stats = terminator.ask("/stats");
    assert_eq!((&stats["requests"], responses(&stats), &stats["in_flight"]), (&3.into(), 3, &0.into()));
}

#[test]
fn a_get_whose_instance_died_waits_for_the_next_one() {
    let terminator = Terminator::start(&["--hold", "1h", "--deadline", "1h"]);
    let mut service = terminator.service(&["GET /a"]);
    let mut client = terminator.client();
    client.send(GET);
    service.request();
    drop(service);
    until_held(&terminator, 1);
    let mut service = Service::connect(&terminator.bus(), "s", &["GET /a"], 0);
    let request = service.request();
    service.reply(&request, 200, &[], b"again");
    assert_eq!(client.answer().text(), "again");
}

#[test]
fn a_request_waits_no_longer_than_it_may() {
    for flags in [["--hold", "100ms", "--deadline", "1h"], ["--hold", "1h", "--deadline", "100ms"]] {
        let terminator = abandoned(&flags);
        let mut client = terminator.client();
        for text in [GET, POST] {
            client.send(text);
            client.answer().problem(503, "no_instance");
        }
        assert_eq!(terminator.ask("/stats")["bus.requests.held"], 2);
    }
    let terminator = abandoned(&["--hold", "0s"]);
    terminator.client().get("/a").problem(503, "no_instance");
    assert_eq!(terminator.ask("/stats")["bus.requests.held"], 0);
}

#[test]
fn no_more_requests_wait_than_may() {
    const HELD: usize = 1024;
    let terminator = abandoned(&["--hold", "1h", "--deadline", "1h"]);
    let mut clients: Vec<_> = (0..HELD).map(|_| terminator.client()).collect();
    clients.iter_mut().for_each(|client| client.send(GET));
    until_held(&terminator, HELD as u64);
    terminator.client().get("/a").problem(503, "no_instance");
    // A client that leaves makes room for another request.
    clients.pop().unwrap().reset();
    terminator.until("/stats", |stats| stats["cancelled"] == 1);
    let mut client = terminator.client();
    client.send(GET);
    until_held(&terminator, HELD as u64 + 1);
}

#[test]
fn services_that_are_expected_are_named_until_they_have_joined() {
    let terminator = Terminator::start(&["--expect", "s,other", "--hold", "0s"]);
    let ready = || Client::connect(&terminator.admin.to_string()).get("/ready");
    let problem = ready().problem(503, "not_ready");
    assert!(problem["detail"].as_str().unwrap().contains(": s, other (--expect)"), "{problem:#}");
    let problem = terminator.client().get("/nowhere").problem(503, "no_instance");
    assert!(problem["detail"].as_str().unwrap().contains("s, other (--expect)"), "{problem:#}");
    let service = terminator.service(&["GET /a"]);
    let problem = terminator.until("/ready", |ready| ready["detail"].as_str().unwrap().contains(": other "));
    assert_eq!(problem["status"], 503);
    let _other = Service::connect(&terminator.bus(), "other", &["GET /{any}"], 0);
    terminator.until("/ready", |ready| ready["ready"] == true);
    terminator.client().get("/no/where").problem(404, "no_route");
    // The route of an expected service stays claimed while its service is away: the path does not
    // match the less specific pattern of the other service.
    drop(service);
    terminator.until("/peers", |peers| peers.as_array().unwrap().len() == 1);
    terminator.client().get("/a").problem(503, "no_instance");
}

#[test]
fn a_path_that_no_service_claims_yet_waits_for_the_expected_service() {
    let terminator = Terminator::start(&["--expect", "s", "--hold", "1h", "--deadline", "1h"]);
    let mut client = terminator.client();
    client.send(POST);
    until_held(&terminator, 1);
    let mut service = Service::connect(&terminator.bus(), "s", &["POST /a"], 0);
    let request = service.request();
    assert_eq!(request.body_bytes(), b"body");
    service.reply(&request, 200, &[], b"first");
    assert_eq!(client.answer().text(), "first");
}
