//! The page of live change and its POST paths, on the admin listener of a running terminator.

#![expect(clippy::print_stdout, reason = "a skipped test says so where CI counts it")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::live::{BY_USER, get, instance, put, toggle};
use crate::terminator::{Terminator, run};

const TOKEN: &str = "a-token-of-operators";

/// A terminator with the toggle `new` and a rollout of `s`, whose documents are in `plan`.
fn terminator(plan: &Path, flags: &[&str]) -> Terminator {
    put(plan, "toggles/new.json", &toggle("new", 50));
    put(plan, "rollouts/s.json", &rollout());
    Terminator::start(&[&["--plan", plan.to_str().unwrap()], flags, &BY_USER].concat())
}

fn rollout() -> Value {
    json!({
        "stable": "1", "candidate": "2", "stages": [{ "percent": 20 }, { "percent": 100 }],
        "stage_seconds": 3600, "min_requests": 100, "checks": { "p99": null },
    })
}

/// Posts to the admin listener, with these further header lines.
fn post(terminator: &Terminator, path: &str, headers: &str, body: &str) -> Answer {
    let mut client = Client::connect(&terminator.admin.to_string());
    let (host, length) = (terminator.admin, body.len());
    client.send(format!(
        "POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    ));
    client.answer()
}

fn bearer() -> String {
    format!("authorization: Bearer {TOKEN}\r\n")
}

#[test]
fn page_is_served_with_a_policy_that_lets_nothing_else_in() {
    let terminator = Terminator::start(&[]);
    for (path, media_type) in
        [("/change", "text/html"), ("/change.css", "text/css"), ("/change.js", "text/javascript")]
    {
        let answer = Client::connect(&terminator.admin.to_string()).get(path);
        assert_eq!(answer.status, 200);
        assert!(answer.header("content-type").unwrap().starts_with(media_type), "{answer:?}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
        assert!(!answer.text().contains("https://"), "{path} has no resource of elsewhere");
    }
    assert_eq!(terminator.ask("/toggles"), json!([]));
    assert_eq!(post(&terminator, "/change", "", "").status, 405);
}

#[test]
fn without_the_flag_or_its_token_nothing_is_written() {
    let plan = tempfile::tempdir().unwrap();
    let off = terminator(plan.path(), &[]);
    let problem = post(&off, "/toggles/new/off", &bearer(), "").problem(403, "writes_off");
    assert!(problem["remedy"].as_str().unwrap().contains("--admin-write-token"), "{problem}");

    let on = terminator(plan.path(), &["--admin-write-token", TOKEN]);
    for headers in ["", "authorization: Bearer a-token-of-operatorz\r\n", "authorization: Basic YTpi\r\n"] {
        let answer = post(&on, "/rollouts/s/abort", headers, "");
        answer.problem(401, "write_token");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"admin\""));
    }
    for headers in [
        "sec-fetch-site: cross-site\r\n",
        "sec-fetch-site: same-site\r\n",
        "origin: http://evil.example\r\n",
        "origin: null\r\n",
    ] {
        post(&on, "/toggles/new/off", &format!("{headers}{}", bearer()), "").problem(403, "cross_site");
    }
    assert!(!on.ask("/config").to_string().contains(TOKEN));
    assert_eq!(on.ask("/toggles")[0]["enabled"], true);
    let (code, said) = run(&["--bus-listen", "inproc://a", "--admin-write-token", "two words"]);
    assert!(code != Some(0) && said.contains("--admin-write-token"), "{said}");
}

#[test]
fn a_write_changes_the_document_and_its_history_and_bad_ones_are_named() {
    let plan = tempfile::tempdir().unwrap();
    let terminator = terminator(plan.path(), &["--admin-write-token", TOKEN]);
    let origin =
        format!("origin: http://{}\r\nsec-fetch-site: same-origin\r\n{}", terminator.admin, bearer());
    let answer = post(&terminator, "/toggles/new/off", &origin, "{\"who\":\"ann\"}");
    assert_eq!(answer.status, 200, "{answer:?}");
    let said: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((&said["key"], &said["who"]), (&json!("toggles/new"), &json!("ann (admin)")));
    terminator.until("/toggles", |toggles| toggles[0]["enabled"] == false);
    let history = std::fs::read_to_string(plan.path().join("history.jsonl")).unwrap();
    assert!(history.contains("\"who\":\"ann (admin)\""), "{history}");

    post(&terminator, "/toggles/none/on", &bearer(), "").problem(404, "no_document");
    post(&terminator, "/rollouts/none/abort", &bearer(), "").problem(404, "no_document");
    post(&terminator, "/rollouts/s/resume", &bearer(), "").problem(409, "not_written");
    post(&terminator, "/toggles/new/on", &bearer(), "{\"whom\":1}").problem(400, "bad_write");
    post(&terminator, "/toggles/new/on", &bearer(), "{\"who\":\"a\\nb\"}").problem(400, "bad_write");
    assert_eq!(post(&terminator, "/rollouts/s/explode", &bearer(), "").status, 404);
    assert_eq!(Client::connect(&terminator.admin.to_string()).get("/rollouts/s/abort").status, 405);
}

#[test]
fn an_order_moves_the_rollout_and_the_series_shows_it() {
    let plan = tempfile::tempdir().unwrap();
    let terminator = terminator(plan.path(), &["--admin-write-token", TOKEN]);
    for (command, state) in [("pause", "paused"), ("resume", "running"), ("abort", "aborted")] {
        terminator.until("/rollouts", |rollouts| rollouts[0]["service"] == "s");
        let answer = post(&terminator, &format!("/rollouts/s/{command}"), &bearer(), "");
        assert_eq!(answer.status, 200, "{answer:?}");
        terminator.until("/rollouts", |rollouts| rollouts[0]["state"] == state);
    }
    let series = terminator.until("/rollouts/s/series", |series| {
        series.as_array().and_then(|points| points.last()).is_some_and(|last| last["state"] == "aborted")
    });
    let states: Vec<_> = series.as_array().unwrap().iter().map(|point| &point["state"]).collect();
    assert!(states.contains(&&json!("running")) && states.contains(&&json!("paused")), "{series:#}");
    assert_eq!(series[0]["percent"], 20.0);
    assert_eq!(terminator.ask("/rollouts/none/series"), json!([]));
}

#[test]
fn an_operator_uses_the_page_in_chromium() {
    let Some(python) = python() else { return };
    let plan = tempfile::tempdir().unwrap();
    let terminator = terminator(plan.path(), &["--admin-write-token", TOKEN]);
    for version in ["1", "2"] {
        let mut service = instance(&terminator, version);
        // Ends with the terminator, whose end closes the socket.
        thread::spawn(move || {
            loop {
                let request = service.request();
                service.reply(&request, 200, &[], b"");
            }
        });
    }
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, http) = (Arc::clone(&stop), terminator.http[0].clone());
    let load = thread::spawn(move || {
        let mut client = Client::connect(&http);
        for user in 0.. {
            if stopped.load(Ordering::Relaxed) {
                return;
            }
            client.send(get(&format!("u{}", user % 500)));
            client.answer();
        }
    });
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/edge/page.py"));
    command.arg(format!("http://{}", terminator.admin)).arg(TOKEN).args(std::env::var_os("SCREENSHOTS"));
    let used = command.output().unwrap();
    stop.store(true, Ordering::Relaxed);
    load.join().unwrap();
    let said: Value = serde_json::from_slice(&used.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&used.stderr)));
    assert_eq!((&said["errors"], &said["foreign"]), (&json!([]), &json!([])), "{said:#}");
    assert_eq!(said["pause_without_token"], false);
    assert_eq!((&said["overflow_wide"], &said["overflow_narrow"]), (&json!(0), &json!(0)));
    assert!(said["history"].as_str().unwrap().contains("ann (admin): pause"), "{said:#}");
}

/// The Python with playwright, or `None` after a line that says why not.
fn python() -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools");
    let tools = std::env::var_os("STACK_TOOLS_DIR").map_or_else(default, PathBuf::from);
    let python = tools.join("venv/bin/python");
    let mut import = Command::new(&python);
    import.args(["-c", "import playwright"]);
    let is_there = Path::new("/usr/bin/chromium").is_file()
        && import.output().is_ok_and(|output| output.status.success());
    if !is_there {
        println!(
            "SKIPPED: chromium or playwright is missing: .ci/tools installs chromium and {}",
            python.display()
        );
    }
    is_there.then_some(python)
}
