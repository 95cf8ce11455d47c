//! The operator's commands beside a running terminator: what they write, it does, and what it does,
//! they show.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};

use serde_json::{Value, json};

use crate::http;
use crate::process::{Process, role};
use crate::terminator::Terminator;
use crate::until::{DEADLINE, until};
use crate::whole::Stack;
use crate::wire::{HELLO, Message, Pipe, REQUEST};

/// Runs `stack` with `args`; stdout when it succeeds, else stderr.
fn stack(args: &[&str]) -> Result<String, String> {
    let output = Command::new(role("stack")).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// A plan with the toggle `new`, off.
fn plan() -> tempfile::TempDir {
    let plan = tempfile::tempdir().unwrap();
    put(plan.path(), "toggles/new.json", &json!({ "name": "new", "enabled": false }));
    plan
}

fn put(plan: &Path, file: &str, document: &Value) {
    std::fs::create_dir_all(plan.join(file).parent().unwrap()).unwrap();
    std::fs::write(plan.join(file), document.to_string()).unwrap();
}

#[test]
fn a_toggle_switched_by_command_is_what_the_terminator_evaluates() {
    let plan = plan();
    let directory = plan.path().to_str().unwrap();
    let terminator = Terminator::start(&["--plan", directory]);
    let value = || {
        let path = "/ofrep/v1/evaluate/flags/new";
        let body = b"{\"context\":{\"targetingKey\":\"ann\"}}";
        http::send(terminator.admin, "POST", path, &[], body).json()["value"].clone()
    };
    for (command, expected) in [("on", true), ("off", false)] {
        stack(&["toggle", command, "new", "--plan", directory]).unwrap();
        until(&format!("the toggle is {command}"), || match value() {
            value if value == expected => Ok(()),
            value => Err(value.to_string()),
        });
    }
}

#[test]
fn a_rollout_begun_by_command_is_shown_and_not_replaced_by_mistake() {
    let plan = plan();
    let directory = plan.path().to_str().unwrap();
    let terminator = Terminator::start(&["--plan", directory]);
    let admin = terminator.admin.to_string();
    let start = |candidate: &str, replace: &[&str]| {
        let versions = ["rollout", "start", "s", "--stable", "1", "--candidate", candidate];
        stack(&[&versions[..], &["--plan", directory], replace].concat())
    };
    let status = |candidate: &str| {
        until(&format!("the rollout of {candidate} runs"), || {
            let said = stack(&["rollout", "status", "s", "--admin", &admin, "-o", "json"])?;
            let said: Value = serde_json::from_str(&said).unwrap();
            let is_it = said["candidate"] == candidate && said["state"] == "running";
            if is_it { Ok(said) } else { Err(said.to_string()) }
        })
    };
    assert_eq!(stack(&["rollout", "ls", "--admin", &admin, "-o", "json"]).as_deref(), Ok("[]\n"));
    start("2", &[]).unwrap();
    assert_eq!(status("2")["percent"], 1.0);
    let refused = start("3", &[]).unwrap_err();
    assert!(refused.contains("from 1 to 2") && refused.contains("--replace"), "{refused}");
    start("3", &["--replace"]).unwrap();
    status("3");
    let text = stack(&["rollout", "status", "s", "--admin", &admin]).unwrap();
    assert!(
        text.starts_with("s: candidate 3 beside stable 1\n  state      running, stage 1, share 1 %"),
        "{text}"
    );
    let absent = stack(&["rollout", "status", "t", "--admin", &admin]).unwrap_err();
    assert!(absent.contains("no rollout of t; it has: s"), "{absent}");
}

#[test]
fn orders_are_obeyed_and_a_watch_shows_them_and_ends_with_the_rollout() {
    let plan = plan();
    let directory = plan.path().to_str().unwrap();
    let terminator = Terminator::start(&["--plan", directory]);
    let admin = terminator.admin.to_string();
    let order = |args: &[&str]| stack(&[&["rollout"], args, &["--plan", directory]].concat());
    let start = ["start", "s", "--stable", "1", "--candidate", "2"];
    order(&start).unwrap();
    until("the rollout runs", || stack(&["rollout", "status", "s", "--admin", &admin]));
    let watch = |format: &str| {
        let watch = ["rollout", "watch", "s", "--admin", &admin, "-o", format];
        Command::new(role("stack")).args(watch).stdout(Stdio::piped()).spawn().unwrap()
    };
    let watching = watch("json");
    for (command, state) in [("pause", "paused"), ("resume", "running"), ("abort", "aborted")] {
        let said = order(&[command, "s"]).unwrap();
        assert!(said.starts_with(&format!("the rollout of s is {state}, share ")), "{said}");
    }
    let refused = order(&["promote", "s"]).unwrap_err();
    assert!(refused.contains("is aborted, so it cannot be promoted"), "{refused}");
    let watched = watching.wait_with_output().unwrap();
    assert_eq!(watched.status.code(), Some(1), "it was taken back");
    let lines: Vec<Value> = watched
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    let states: Vec<&str> = lines.iter().map(|line| line["state"].as_str().unwrap()).collect();
    assert_eq!(states.first(), Some(&"running"));
    assert_eq!(states[states.len() - 3..], ["paused", "running", "aborted"]);
    assert!(lines.last().unwrap()["reason"].as_str().unwrap().ends_with(": abort"));

    order(&start).unwrap();
    until("it begins again", || match stack(&["rollout", "status", "s", "--admin", &admin])? {
        said if said.contains("running, stage 1, share 1 %") => Ok(()),
        said => Err(said),
    });
    let promoted: Value = serde_json::from_str(&order(&["promote", "s", "-o", "json"]).unwrap()).unwrap();
    assert_eq!((&promoted["state"], &promoted["percent"]), (&json!("completed"), &json!(100.0)));
    let watched = watch("text").wait_with_output().unwrap();
    assert_eq!(watched.status.code(), Some(0), "the candidate has taken over");
}

#[test]
fn a_terminator_that_does_not_answer_is_named_with_the_remedy() {
    let error = stack(&["rollout", "ls", "--admin", "127.0.0.1:1"]).unwrap_err();
    assert!(error.contains("--admin 127.0.0.1:1: ") && error.contains("start the stack"), "{error}");
}

#[test]
fn the_stack_follows_the_plan_in_its_data_directory() {
    let data = tempfile::tempdir().unwrap();
    let running = Stack::start(data.path());
    let directory = data.path().join("plan");
    assert!(directory.is_dir(), "made at the start, so that the terminator waits for nothing");
    put(data.path(), "new.json", &json!({ "name": "new", "enabled": true }));
    let (file, plan) = (data.path().join("new.json"), directory.to_str().unwrap());
    stack(&["toggle", "set", "new", file.to_str().unwrap(), "--plan", plan]).unwrap();
    until("the toggle is in force", || {
        let plan = http::get(running.admin, "/plan").json();
        if plan["documents"][0]["key"] == "toggles/new" { Ok(()) } else { Err(plan.to_string()) }
    });
}

/// Joins the bus at `url` as an instance of `service` that answers every request with `{}`; where
/// its requests arrive.
fn join(url: &str, [service, version]: [&str; 2], route: &str) -> Receiver<Message> {
    let mut pipe = until(&format!("{service} joins {url}"), || Pipe::open(url).map_err(|e| e.to_string()));
    let fields = [("service", service), ("version", version), ("instance", "fake"), ("route", route)];
    pipe.send(&Message::new(HELLO, &fields).pack()).unwrap();
    let (sender, requests) = sync_channel(64);
    std::thread::spawn(move || {
        while let Ok(payload) = pipe.receive() {
            let Some(request) = Message::unpack(&payload).filter(|message| message.kind == REQUEST) else {
                continue;
            };
            let answered = pipe.send(&request.reply(200, b"{}").pack());
            if sender.send(request).is_err() || answered.is_err() {
                return;
            }
        }
    });
    requests
}

/// The terminator copies the requests for `web`, which is real and asks `profile` over its own bus.
#[test]
fn a_service_two_hops_down_sees_that_a_request_is_a_copy() {
    const SHADOW: u16 = 1 << 1;
    let (plan, dir) = (plan(), tempfile::tempdir().unwrap());
    let directory = plan.path().to_str().unwrap();
    let terminator = Terminator::start(&["--plan", directory]);
    let upstream = format!("ipc://{}/web", dir.path().display());
    let _web = Process::role("web", &["--bus-dial", terminator.bus("ipc"), "--upstream-listen", &upstream]);
    let profile = join(&upstream, ["profile", "1"], "GET /profiles/{id}");
    let answer = |path: &str| {
        until(&format!("{path} is answered"), || match terminator.get(path) {
            answer if answer.status == 503 => Err(answer.text()),
            answer => Ok(answer.text()),
        })
    };
    answer("/members/1");
    let candidate = join(terminator.bus("ipc"), ["web", "next"], "GET /members/{id}");
    terminator.wait_peers("web", 2);
    stack(&["ghost", "web", "--start", "next", "--percent", "100", "--plan", directory]).unwrap();
    until("ghost traffic is in force", || match terminator.admin("/ghosts") {
        ghosts if ghosts[0]["candidate"] == "next" => Ok(()),
        ghosts => Err(ghosts.to_string()),
    });
    assert_ne!(answer("/members/2"), "{}", "the candidate's answer");
    let next = |requests: &Receiver<Message>| requests.recv_timeout(DEADLINE).unwrap();
    let copy = next(&candidate);
    assert_eq!((copy.flags & SHADOW, copy.field(":priority")), (SHADOW, Some("low")));
    assert_eq!(copy.field(":pin"), Some("web=next"));
    let asked = [(); 3].map(|()| next(&profile).flags & SHADOW);
    assert_eq!(asked, [0, 0, SHADOW], "web asks for the clients, then for the copy");
    let admin = terminator.admin.to_string();
    let text = until("it is compared", || match stack(&["ghost", "web", "--admin", &admin])? {
        text if text.contains(" 1 compared, 0 lost") => Ok(text),
        text => Err(text),
    });
    assert!(text.starts_with("web: candidate next gets copies of 100 % of GET and HEAD\n"), "{text}");
    let absent = stack(&["ghost", "t", "--admin", &admin]).unwrap_err();
    assert!(absent.contains("copies no requests of t; it copies those of: web"), "{absent}");
    let listed = stack(&["ghost", "--admin", &admin]).unwrap();
    assert!(listed.starts_with("SERVICE  CANDIDATE  SHARE  COPIES"), "{listed}");
}
