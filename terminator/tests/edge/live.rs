//! Live change at the edge: toggles, sessions, OFREP and rollouts by a plan in a directory.

use std::path::Path;
use std::thread;

use bus::Hello;
use serde_json::{Value, json};

use crate::client::Client;
use crate::service::{Service, field};
use crate::terminator::Terminator;

pub(crate) const BY_USER: [&str; 2] = ["--identity", "header:x-user"];

/// Writes a document of the plan as an editor does: a new file under the old name.
pub(crate) fn put(plan: &Path, name: &str, document: &Value) {
    let path = plan.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let new = path.with_extension("new");
    std::fs::write(&new, document.to_string()).unwrap();
    std::fs::rename(new, path).unwrap();
}

pub(crate) fn toggle(name: &str, rollout: u32) -> Value {
    let parameters = json!({ "rollout": rollout.to_string(), "stickiness": "userId", "groupId": name });
    let strategy = json!({ "name": "flexibleRollout", "parameters": parameters });
    json!({ "name": name, "enabled": true, "strategies": [strategy] })
}

fn terminator(plan: &Path, flags: &[&str]) -> Terminator {
    let plan = ["--plan", plan.to_str().unwrap()];
    Terminator::start(&[&plan, flags].concat())
}

/// An instance of service `s` that reads the toggle `new`.
pub(crate) fn instance(terminator: &Terminator, version: &str) -> Service {
    let mut hello = Hello::new("s", version, format!("s{version}"));
    hello.routes = vec!["GET /a".parse().unwrap()];
    hello.toggles = vec!["new".into()];
    let service = Service::join(&terminator.bus(), &hello);
    terminator.until("/peers", |peers| peers.to_string().contains(&format!("\"s{version}\"")));
    service
}

pub(crate) fn get(user: &str) -> String {
    format!("GET /a HTTP/1.1\r\nhost: a\r\nx-user: {user}\r\n\r\n")
}

#[test]
fn a_toggle_reaches_the_service_that_reads_it_and_follows_the_file() {
    let plan = tempfile::tempdir().unwrap();
    put(plan.path(), "toggles/new.json", &toggle("new", 100));
    put(plan.path(), "toggles/unread.json", &toggle("unread", 100));
    let terminator = terminator(plan.path(), &BY_USER);
    let (mut service, mut client) = (instance(&terminator, "1"), terminator.client());
    let mut ask = |expected: Option<&str>| {
        client.send(get("ann"));
        let request = service.request();
        assert_eq!(field(&request, ":toggle"), expected);
        service.reply(&request, 200, &[], b"");
        assert_eq!(client.answer().status, 200);
    };
    ask(Some("new"));
    put(plan.path(), "toggles/new.json", &toggle("new", 0));
    let revision = |plan: &Value| plan["documents"][0]["revision"].clone();
    let before = revision(&terminator.ask("/plan"));
    terminator
        .until("/plan", |plan| plan["documents"][0]["age_ms"].as_u64() < Some(1) || revision(plan) != before);
    let off = json!({ "context": { "targetingKey": "ann" } }).to_string();
    until_flag(&terminator, &off, false);
    ask(None);
}

/// Asks OFREP until the toggle `new` has this value.
fn until_flag(terminator: &Terminator, context: &str, value: bool) {
    let begun = std::time::Instant::now();
    loop {
        let mut client = Client::connect(&terminator.admin.to_string());
        client.send(format!(
            "POST /ofrep/v1/evaluate/flags/new HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{context}",
            context.len()
        ));
        let answer = client.answer();
        let flag: Value = serde_json::from_slice(&answer.body).unwrap();
        if flag["value"] == value {
            return;
        }
        assert!(begun.elapsed() < crate::PATIENCE, "the flag is still {flag:#}");
    }
}

#[test]
fn a_document_that_does_not_parse_leaves_the_last_one_in_force_and_is_named() {
    let plan = tempfile::tempdir().unwrap();
    put(plan.path(), "toggles/new.json", &toggle("new", 100));
    let terminator = terminator(plan.path(), &BY_USER);
    put(plan.path(), "toggles/new.json", &json!({ "name": "new", "enabled": "yes" }));
    let said = terminator.until("/plan", |plan| plan["refused"][0]["key"] == "toggles/new");
    assert_eq!(
        (&said["refused"][0]["path"], &said["refused"][0]["in_force"]),
        (&json!("enabled"), &json!(true))
    );
    until_flag(&terminator, &json!({ "context": { "targetingKey": "ann" } }).to_string(), true);
}

#[test]
fn a_client_without_a_session_gets_a_cookie_once() {
    let terminator = Terminator::start(&["--session-cookie", "sid"]);
    let (mut service, mut client) = (instance(&terminator, "1"), terminator.client());
    let mut ask = |cookie: &str| {
        client.send(format!("GET /a HTTP/1.1\r\nhost: a\r\n{cookie}\r\n"));
        let request = service.request();
        service.reply(&request, 200, &[], b"");
        let answer = client.answer();
        let set = answer.headers.iter().find(|(name, _)| name == "set-cookie");
        set.map(|(_, value)| value.split(';').next().unwrap().to_owned())
    };
    let session = ask("").expect("a cookie is set");
    assert!(session.starts_with("sid=") && session.len() > 20, "{session}");
    assert_eq!(ask(&format!("cookie: {session}\r\n")), None);
}

#[test]
fn a_candidate_that_fails_is_taken_back_and_its_clients_meet_stable_again() {
    let plan = tempfile::tempdir().unwrap();
    let terminator = terminator(plan.path(), &BY_USER);
    for (version, status) in [("1", 200), ("2", 500)] {
        let mut service = instance(&terminator, version);
        // Ends with the terminator, whose end closes the socket.
        thread::spawn(move || {
            loop {
                let request = service.request();
                let pin = field(&request, ":pin").unwrap_or("none").to_owned();
                service.reply(&request, status, &[("x-pin", &pin)], b"");
            }
        });
    }
    let rollout = json!({
        "stable": "1", "candidate": "2", "stages": [{ "percent": 20 }, { "percent": 100 }],
        "stage_seconds": 3600, "min_requests": 100000,
    });
    put(plan.path(), "rollouts/s.json", &rollout);
    terminator.until("/rollouts", |rollouts| rollouts[0]["state"] == "running");
    let (mut client, mut failed, mut asked) = (terminator.client(), 0, 0);
    let begun = std::time::Instant::now();
    loop {
        for _ in 0..50 {
            asked += 1;
            client.send(get(&format!("u{}", asked % 500)));
            let answer = client.answer();
            let pin = answer.headers.iter().find(|(name, _)| name == "x-pin").map(|(_, pin)| pin.as_str());
            assert_eq!(pin, Some(if answer.status == 200 { "s=1" } else { "s=2" }));
            failed += usize::from(answer.status == 500);
        }
        let said = terminator.ask("/rollouts");
        if said[0]["state"] == "rolled_back" {
            assert_eq!(said[0]["percent"], 0.0, "{said:#}");
            break;
        }
        assert!(begun.elapsed() < crate::PATIENCE, "after {asked} requests, {failed} failed: {said:#}");
    }
    assert!(failed > 0);
    for user in 0..500 {
        client.send(get(&format!("u{user}")));
        assert_eq!(client.answer().status, 200);
    }
}
