//! `stack upgrade`: every role of a running stack is replaced under load, and what fails changes
//! nothing.
//!
//! Owns the tests of the command. `role`'s and the terminator's own tests have the handover.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::http::{get, send};
use crate::load::Load;
use crate::process::{Process, role};
use crate::until::until;
use crate::whole::{Stack, signal};

/// In the order in which they are replaced.
const ROLES: [&str; 6] = ["events", "chat", "feed", "profile", "web", "terminator"];
/// Connections that ask without a pause.
const CLIENTS: usize = 4;
/// Long polls that are open, and how long each waits.
const POLLS: usize = 4;
const POLL_S: u64 = 5;

/// `stack upgrade` of the stack with this directory.
fn upgrade(data: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(role("stack"));
    command.args(["upgrade", "--no-build", "--data"]).arg(data).args(args);
    command
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn pids(stack: &Stack) -> BTreeMap<String, u32> {
    stack.children().into_iter().collect()
}

#[test]
fn every_role_is_replaced_under_load_and_no_request_fails() {
    let data = tempfile::tempdir().unwrap();
    let stack = Stack::start(data.path());
    let before = pids(&stack);
    let load = Load::start(stack.http, CLIENTS, u64::MAX, |number| {
        let member = number % 1000 + 1;
        match number % 5 {
            0 => format!("/members/{member}"),
            1 => format!("/profiles/{member}"),
            2 => format!("/feeds/{member}?limit=5"),
            3 => format!("/chats/{member}/messages?limit=5"),
            _ => "/events?limit=5".to_owned(),
        }
    });
    let polls = Load::start(stack.http, POLLS, u64::MAX, |number| match number % 2 {
        0 => format!("/chats/quiet{number}/updates?wait={POLL_S}"),
        _ => format!("/events/stream?types=Quiet{number}&wait={POLL_S}"),
    });
    load.wait_more(200);
    let output = upgrade(data.path(), &["-o", "json"]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    load.wait_more(200);
    let (tally, polls) = (load.stop(), polls.stop());
    eprintln!("load {tally:?}, polls {polls:?}, {}", said(&output));

    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let replaced = report["replaced"].as_array().unwrap();
    let roles: Vec<_> = replaced.iter().map(|role| role["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ROLES);
    let after = pids(&stack);
    for role in replaced {
        let name = role["role"].as_str().unwrap();
        assert_eq!((json!(before[name]), json!(after[name])), (role["old"].clone(), role["new"].clone()));
        assert_ne!(before[name], after[name], "{name}");
    }
    assert_eq!(after.len(), 6, "{after:?}");
    assert_eq!((tally.of(200), tally.errors), (tally.total(), 0), "{tally:?}");
    assert_eq!((polls.of(200) + polls.of(204), polls.errors), (polls.total(), 0), "{polls:?}");
}

#[test]
fn what_was_acknowledged_before_and_during_an_upgrade_is_there_after_it() {
    let data = tempfile::tempdir().unwrap();
    let stack = Stack::start(data.path());
    let (http, stop) = (stack.http, std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false)));
    let stopped = std::sync::Arc::clone(&stop);
    let writer = std::thread::spawn(move || {
        let mut written = 0;
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            let path = format!("/profiles/new{written}");
            let answer = send(http, "PUT", &path, &[], b"{\"name\":\"New\"}");
            assert_eq!(answer.status, 201, "{}", answer.text());
            written += 1;
        }
        written
    });
    for _ in 0..2 {
        let output = upgrade(data.path(), &["profile"]).output().unwrap();
        let text = said(&output);
        assert!(output.status.success() && text.starts_with("profile    replaced in "), "{text}");
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let written = writer.join().unwrap();
    assert!(written > 0);
    for number in 0..written {
        assert_eq!(get(http, &format!("/profiles/new{number}")).status, 200, "new{number} of {written}");
    }
}

#[test]
fn a_second_upgrade_is_refused_while_one_runs() {
    let data = tempfile::tempdir().unwrap();
    let stack = Stack::start(data.path());
    // A process that stands still does not hand over.
    let events = stack.child("events").unwrap();
    signal(events, Signal::STOP);
    let mut first = Process::start("upgrade", &mut upgrade(data.path(), &["events", "--within", "10m"]));
    until("the first has begun", || {
        let lines = stack.process.lines();
        lines.iter().any(|line| line.contains("events is replaced")).then_some(()).ok_or_else(String::new)
    });
    let second = upgrade(data.path(), &["web"]).output().unwrap();
    let text = said(&second);
    assert_eq!(second.status.code(), Some(1), "{text}");
    assert!(text.contains("an upgrade is running, now of events"), "{text}");
    signal(events, Signal::CONT);
    assert_eq!(first.wait().code(), Some(0), "{:?}", first.lines());
    let web = upgrade(data.path(), &["web"]).output().unwrap();
    assert!(web.status.success(), "{}", said(&web));
}

/// A directory with the binaries, each of which can be replaced.
fn binaries() -> tempfile::TempDir {
    let built = role("stack");
    let built = built.parent().unwrap();
    let dir = tempfile::tempdir_in(built).unwrap();
    for name in ["stack"].iter().chain(&ROLES) {
        std::fs::hard_link(role(name), dir.path().join(name)).unwrap();
    }
    dir
}

/// Puts a program in the place of a role's binary.
fn put(binaries: &Path, name: &str, script: &str) -> PathBuf {
    let (path, fresh) = (binaries.join(name), binaries.join("fresh"));
    std::fs::write(&fresh, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(&fresh, &path).unwrap();
    path
}

#[test]
fn a_binary_that_does_not_serve_is_named_and_the_old_processes_serve_on() {
    let (data, binaries) = (tempfile::tempdir().unwrap(), binaries());
    let stack = Stack::start_from(&binaries.path().join("stack"), data.path(), &[]);
    let before = pids(&stack);
    let failing = |name: &str, script: &str, said_of_it: &str| {
        put(binaries.path(), name, script);
        let output = upgrade(data.path(), &[name, "terminator", "--within", "5s"]).output().unwrap();
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        for part in [name, said_of_it, "serves on", "not touched: terminator"] {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
        assert_eq!(pids(&stack), before);
        assert_eq!(get(stack.http, "/members/1").status, 200);
    };
    failing("web", "exit 3", "exit code 3");
    failing("profile", "exec sleep 1000", "not ready within 5s");

    // A role that dies is started from the binary that it had.
    signal(before["web"], Signal::KILL);
    until("members are served again", || match get(stack.http, "/members/1").status {
        200 => Ok(()),
        status => Err(status.to_string()),
    });
}

#[test]
fn without_a_stack_the_directory_is_named() {
    let data = tempfile::tempdir().unwrap();
    let output = upgrade(data.path(), &[]).output().unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(data.path().to_str().unwrap()) && text.contains("no stack runs with it"), "{text}");
    let unknown = upgrade(data.path(), &["webb"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(2), "{}", said(&unknown));
}
