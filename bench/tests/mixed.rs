//! `bench mixed` against the roles, and against servers that break their promises.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a test that is skipped says so")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const BENCH: &str = env!("CARGO_BIN_EXE_bench");
const SMALL: [&str; 7] =
    ["mixed", "--no-build", "--no-install", "--quiet", "--members=20", "--connections=4", "--seed=7"];

fn bench(runs: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(BENCH);
    command.args(SMALL).arg("--runs").arg(runs).args(args).stdin(Stdio::null());
    command
}

/// True when the roles are built; otherwise prints that they are not.
fn roles_are_there() -> bool {
    ["terminator", "web", "profile", "feed", "chat", "stack"].iter().all(|role| {
        let binary = Path::new(BENCH).with_file_name(role);
        if !binary.is_file() {
            println!("SKIPPED: {} is missing: `cargo build --workspace --bins`", binary.display());
        }
        binary.is_file()
    })
}

/// The files that a run keeps.
fn kept(runs: &Path, output: &Output) -> Value {
    let shown = || {
        format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    assert!(output.status.success(), "{}", shown());
    let run = std::fs::read_dir(runs).unwrap().next().unwrap().unwrap().path();
    for file in ["report.md", "latency-over-time.svg"] {
        assert!(run.join(file).is_file(), "{file} is not kept: {}", shown());
    }
    serde_json::from_slice(&std::fs::read(run.join("mixed.json")).unwrap()).unwrap()
}

#[test]
fn every_request_is_answered_and_every_message_told_by_the_roles_themselves() {
    if !roles_are_there() {
        return;
    }
    let runs = tempfile::tempdir().unwrap();
    let flags = "--days 1 --conversations 50 --messages 100 --polls 20 --rate 300 --duration 3s --warmup 0s";
    let flags: Vec<_> = flags.split(' ').collect();
    let output = bench(runs.path(), &flags).output().unwrap();
    let kept = kept(runs.path(), &output);
    // 98 in 100 of 300 requests/s; the others are the polls'.
    assert_eq!(kept["load"]["responses"], 882, "{kept}");
    let kinds = kept["load"]["kinds"].as_array().unwrap();
    let sum = |field: &str| kinds.iter().map(|kind| kind[field].as_u64().unwrap()).sum::<u64>();
    assert_eq!((kinds.len(), sum("responses"), sum("errors")), (5, 882, 0), "{kept}");
    let polls = &kept["polls"];
    assert!(
        polls["woken"].as_u64().unwrap() > 0 && polls["told"].as_u64() >= polls["woken"].as_u64(),
        "{polls}"
    );
    assert_eq!((&polls["failed"], &polls["unanswered"]), (&Value::from(0), &Value::from(0)), "{polls}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("| terminator |"), "{output:?}");
}

/// Enough polls that their memory is visible although the roles return memory at the same time.
const POLLS: u64 = 1_000;

#[test]
fn one_message_wakes_every_poll_of_its_conversation() {
    if !roles_are_there() {
        return;
    }
    let runs = tempfile::tempdir().unwrap();
    let mut command = Command::new(BENCH);
    command
        .args(["polls", "--no-build", "--no-install", "--count", &POLLS.to_string(), "--runs"])
        .arg(runs.path());
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let run = std::fs::read_dir(runs.path()).unwrap().next().unwrap().unwrap().path();
    let kept: Value = serde_json::from_slice(&std::fs::read(run.join("polls.json")).unwrap()).unwrap();
    let count = |field: &str| kept["polls"][field].as_u64().unwrap();
    assert_eq!(
        (count("woken"), count("told"), count("failed"), count("unanswered")),
        (POLLS, POLLS, 0, 0),
        "{kept}"
    );
    assert!(kept["bytes_per_poll"].as_f64().unwrap() > 0.0, "{kept}");
}

/// Answers everything but long polls, which wait for ever, and reports every request.
fn serve_without_waking(seen: SyncSender<String>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let seen = seen.clone();
            std::thread::spawn(move || converse(&stream, &seen));
        }
    });
    address
}

/// Ends when the client does.
fn converse(stream: &TcpStream, seen: &SyncSender<String>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut first, mut length) = (String::new(), 0);
        reader.read_line(&mut first).ok().filter(|len| *len > 0)?;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            match line.trim_end().split_once(": ") {
                Some(("Content-Length", value)) => length = value.parse().ok()?,
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let reply = match first.as_str() {
            updates if updates.contains("/updates") => None,
            post if post.starts_with("POST") => Some("HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}"),
            _ => Some("HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n{\"after\":\"00\"} "),
        };
        // When the test has what it waited for, the receiver is gone or full, and further requests
        // are not needed.
        let _ = seen.try_send(first);
        if let Some(reply) = reply {
            (&*stream).write_all(reply.as_bytes()).ok()?;
        }
    }
}

#[test]
fn a_poll_that_is_not_told_of_an_acknowledged_message_is_found() {
    let (seen, _requests) = sync_channel(1000);
    let url = format!("http://{}", serve_without_waking(seen));
    let runs = tempfile::tempdir().unwrap();
    let flags = ["--url", &url, "--messages=0", "--polls=2", "--conversations=2"];
    let output =
        bench(runs.path(), &flags).args(["--rate=500", "--duration=1s", "--warmup=0s"]).output().unwrap();
    let kept = kept(runs.path(), &output);
    assert_eq!(kept["polls"]["unanswered"], 2, "{kept}");
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    let verdict = report.lines().find(|line| line.contains("not told of a message")).unwrap().to_owned();
    // Two polls are fewer than required, but a failure under less load is a failure.
    assert!(verdict.contains("FAIL"), "{verdict}");
}

#[test]
fn ctrl_c_reports_what_was_measured_so_far() {
    let (seen, requests) = sync_channel(1000);
    let url = format!("http://{}", serve_without_waking(seen));
    let runs = tempfile::tempdir().unwrap();
    let flags = ["--url", &url, "--messages=0", "--polls=0", "--rate=500", "--duration=10m", "--warmup=0s"];
    let child = bench(runs.path(), &flags).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    requests.iter().nth(100).unwrap();
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    let kept = kept(runs.path(), &output);
    assert_eq!((&kept["load"]["interrupted"], &kept["polls"]), (&Value::from(true), &Value::Null), "{kept}");
    assert!(kept["load"]["responses"].as_u64().unwrap() >= 99, "{kept}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("Ended early by Ctrl-C"), "{output:?}");
}

#[test]
fn a_stack_that_is_not_there_is_named() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let runs = tempfile::tempdir().unwrap();
    let output = bench(runs.path(), &["--url", &format!("http://{address}")]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains(&address.to_string()), "{error}");
    assert!(error.contains("is the server running"), "{error}");
}
