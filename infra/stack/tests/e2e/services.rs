//! Feed, chat and events behind the whole stack: what is written can be read through every hop;
//! polls are answered; dead services come back.

use std::net::SocketAddr;
use std::thread::JoinHandle;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::http::{Client, Response, get, send};
use crate::process::{Process, role};
use crate::until::until;
use crate::whole::{Stack, signal};

fn post(to: SocketAddr, path: &str, body: &Value) -> Response {
    send(to, "POST", path, &[("content-type", "application/json")], body.to_string().as_bytes())
}

fn html(to: SocketAddr, path: &str) -> String {
    let page = send(to, "GET", path, &[("accept", "text/html")], b"");
    assert_eq!(page.status, 200, "{page:?}");
    page.text()
}

/// A long poll on a connection of its own.
fn poll(to: SocketAddr, path: String) -> JoinHandle<Response> {
    std::thread::spawn(move || {
        let mut client = Client::connect(to).expect("connects");
        client.send("GET", &path, &[], b"").unwrap_or_else(|error| panic!("GET {path}: {error}"))
    })
}

/// Waits until `count` requests of the service are outstanding at the terminator.
fn held(stack: &Stack, service: &str, count: u64) {
    until(&format!("{service} holds {count} requests"), || {
        let peers = get(stack.admin, "/peers").json();
        let found = peers.as_array().unwrap().iter().find(|peer| peer["service"] == service);
        match found.and_then(|peer| peer["in_flight"].as_u64()) {
            Some(held) if held == count => Ok(()),
            _ => Err(peers.to_string()),
        }
    });
}

#[test]
fn entries_messages_and_events_go_through_the_whole_stack() {
    let data = tempfile::tempdir().unwrap();
    let stack = Stack::start(data.path());

    assert_eq!(send(stack.http, "PUT", "/feeds/2/follows/1", &[], b"").status, 204);
    let entry = json!({"id": "e1", "text": "Hello <world>"});
    assert_eq!(post(stack.http, "/feeds/1", &entry).status, 201);
    assert_eq!(post(stack.http, "/feeds/1", &entry).status, 200, "once, however often it is sent");
    let feed = get(stack.http, "/feeds/2?limit=5").json();
    assert_eq!((&feed["entries"][0]["id"], &feed["entries"][0]["author"]), (&json!("e1"), &json!("1")));
    let member = get(stack.http, "/members/2").json();
    assert!(member["feed"]["entries"][0]["id"] == "e1" && member["unread"] == 1, "{member}");
    assert!(html(stack.http, "/members/2/feed").contains("Hello &lt;world&gt;"));

    let message = json!({"id": "m1", "author": "1", "text": "Hi & hello"});
    assert_eq!(post(stack.http, "/chats/7/messages", &message).status, 201);
    assert!(html(stack.http, "/conversations/7?as=1").contains("Hi &amp; hello"));

    let event = |id: &str| json!({"id": id, "type": "Opened", "tags": ["account:7"], "data": {"n": 1}});
    let query = json!({"query": {"tags": ["account:7"]}});
    let first = json!({"events": [event("1")], "condition": query});
    assert_eq!(post(stack.http, "/events", &first).status, 201);
    let second = json!({"events": [event("2")], "condition": query});
    let refused = post(stack.http, "/events", &second);
    assert_eq!((refused.status, &refused.json()["reason"]), (409, &json!("condition_failed")));
    let events = get(stack.http, "/events?tags=account:7").json();
    assert_eq!(events["events"].as_array().map(Vec::len), Some(1), "{events}");
}

#[test]
fn long_polls_have_a_deadline_of_their_own_and_are_woken_by_what_they_wait_for() {
    let data = tempfile::tempdir().unwrap();
    let stack = Stack::start(data.path());
    let routes = get(stack.admin, "/routes").json();
    for route in ["GET /chats/{id}/updates", "GET /events/stream"] {
        // The deadline is set by pattern, which must equal the service's claim.
        assert!(routes.to_string().contains(&format!("\"{route}\"")), "{route} in {routes}");
    }

    let after = get(stack.http, "/chats/7/messages").json()["after"].as_str().unwrap().to_owned();
    let news = poll(stack.http, format!("/chats/7/updates?after={after}"));
    held(&stack, "chat", 1);
    let message = json!({"id": "m1", "author": "1", "text": "Hi"});
    assert_eq!(post(stack.http, "/chats/7/messages", &message).status, 201);
    let news = news.join().unwrap();
    assert_eq!((news.status, &news.json()["messages"][0]["id"]), (200, &json!("m1")), "{news:?}");

    let stream = poll(stack.http, "/events/stream?tags=t".to_owned());
    held(&stack, "events", 1);
    let event = json!({"events": [{"id": "1", "type": "A", "tags": ["t"]}]});
    assert_eq!(post(stack.http, "/events", &event).status, 201);
    let stream = stream.join().unwrap();
    assert_eq!((stream.status, &stream.json()["events"][0]["id"]), (200, &json!("1")), "{stream:?}");
}

#[test]
fn a_stack_that_stops_answers_the_long_polls() {
    let data = tempfile::tempdir().unwrap();
    let mut stack = Stack::start(data.path());
    let after = get(stack.http, "/chats/7/messages").json()["after"].as_str().unwrap().to_owned();
    let polls = [format!("/chats/7/updates?after={after}"), "/events/stream".to_owned()];
    let polls = polls.map(|path| poll(stack.http, path));
    held(&stack, "chat", 1);
    held(&stack, "events", 1);
    stack.process.signal(Signal::INT);
    for poll in polls {
        let answer = poll.join().unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(stack.process.wait().code(), Some(0), "{:?}", stack.process.lines());
}

#[test]
fn a_killed_feed_is_503_until_it_is_back_with_what_was_posted() {
    let data = tempfile::tempdir().unwrap();
    let stack = Stack::start(data.path());
    assert_eq!(post(stack.http, "/feeds/1", &json!({"id": "e1", "text": "kept"})).status, 201);
    let before = stack.child("feed").expect("feed is a child");
    // The service is away as long as the test needs: the new process is stopped before it says
    // hello.
    signal(before, Signal::KILL);
    until("the loss is seen", || match get(stack.http, "/feeds/1") {
        gone if gone.status == 503 => {
            assert_eq!(gone.header("content-type"), Some("application/problem+json"), "{gone:?}");
            assert!(gone.text().contains("feed"), "the reason names the service: {gone:?}");
            Ok(())
        }
        answer if answer.status == 200 && stack.child("feed").is_some_and(|pid| pid != before) => Ok(()),
        answer if answer.status == 200 => Err("200".to_owned()),
        answer => panic!("only 200 and 503 are right: {answer:?}"),
    });
    let feed = until("feeds are served again", || match get(stack.http, "/feeds/1") {
        answer if answer.status == 200 => Ok(answer),
        answer => Err(answer.status.to_string()),
    });
    assert_eq!(feed.json()["entries"][0]["text"], "kept");
    assert_ne!(stack.child("feed"), Some(before));
}

#[test]
fn a_population_goes_in_through_http_once_however_often_it_is_sent() {
    let data = tempfile::tempdir().unwrap();
    let stack = Stack::start(data.path());
    let target = format!("http://{}", stack.http);
    for _ in 0..2 {
        let mut command = std::process::Command::new(role("stack"));
        command
            .args(["seed", "--members", "40", "--days", "2", "--target", &target])
            .current_dir(data.path());
        let mut seed = Process::start("seed", &mut command);
        assert_eq!(seed.wait().code(), Some(0), "{:?}", seed.lines());
    }
    let member = get(stack.http, "/members/m1").json();
    assert_eq!(member["profile"]["id"], "m1", "{member}");
    let mut entries: Vec<String> = Vec::new();
    for member in 1..=40 {
        let page = get(stack.http, &format!("/feeds/m{member}?limit=200")).json();
        let own = page["entries"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|entry| entry["author"] == format!("m{member}"));
        entries.extend(own.map(|entry| entry["id"].to_string()));
    }
    let posted = entries.len();
    entries.sort();
    entries.dedup();
    assert!(posted > 10 && entries.len() == posted, "{posted} entries, {} of them different", entries.len());
}
