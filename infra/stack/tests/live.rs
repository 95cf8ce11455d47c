//! `stack plan`, `stack toggle`, `stack ghost` and the writing commands of `stack rollout` on a
//! directory: what they write, say and refuse.

#![allow(
    clippy::unwrap_used,
    reason = "all of this crate is tests; clippy knows only the functions marked so"
)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use change::rollout::{Document, Machine, Phase, State};
use serde_json::{Value, json};

/// Exit code, stdout and stderr.
type Said = (Option<i32>, String, String);

/// Runs `stack` in `dir`, where the default directory of the plan is `data/plan`.
fn stack(dir: &Path, args: &[&str], input: &str) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stack"));
    command.args(args).current_dir(dir).env("USER", "ann").stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that does not read its input may have ended.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn json_of(dir: &Path, args: &[&str]) -> Value {
    let (code, out, err) = stack(dir, &[args, &["-o", "json"]].concat(), "");
    assert_eq!((code, err.as_str()), (Some(0), ""), "{args:?}: {out}");
    serde_json::from_str(&out).unwrap()
}

fn write(dir: &Path, file: &str, text: &str) {
    let path = dir.join("data/plan").join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

#[test]
fn a_toggle_is_created_and_switched_and_its_history_says_by_whom() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let document = "{ \"name\": \"shout\",\n  \"enabled\": false }\n";
    let (code, out, _) = stack(dir, &["toggle", "set", "shout", "-"], document);
    assert_eq!(code, Some(0), "{out}");
    assert!(out.starts_with("toggles/shout is created"), "{out}");

    let created = json_of(dir, &["toggle", "ls"]);
    assert_eq!((&created[0]["name"], &created[0]["enabled"]), (&json!("shout"), &json!(false)));
    let on = json_of(dir, &["toggle", "on", "shout"]);
    assert_eq!(on["before"], created[0]["revision"]);
    let file = std::fs::read_to_string(dir.join("data/plan/toggles/shout.json")).unwrap();
    assert_eq!(file, document.replace("false", "true"), "no other byte changes");
    let (_, out, _) = stack(dir, &["toggle", "on", "shout"], "");
    assert_eq!(out, "toggles/shout is on already\n");
    json_of(dir, &["toggle", "off", "shout"]);
    assert_eq!(json_of(dir, &["toggle", "show", "shout"])["document"]["enabled"], false);

    let history = json_of(dir, &["toggle", "history", "shout"]);
    let states: Vec<_> = history.as_array().unwrap().iter().map(|it| &it["document"]["enabled"]).collect();
    assert_eq!(states, [false, true, false], "the newest first, and no entry for what changed nothing");
    assert!(history[0]["who"].as_str().unwrap().starts_with("ann@"), "{history}");
    assert_eq!((&history[0]["before"], &history[2]["before"]), (&on["revision"], &json!("0")));
    let (_, out, _) = stack(dir, &["toggle", "history", "shout"], "");
    assert_eq!(out.lines().count(), 4, "{out}");
}

#[test]
fn a_write_from_an_old_revision_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write(dir, "toggles/a.json", "{\"name\":\"a\",\"enabled\":false}");
    let read = json_of(dir, &["toggle", "show", "a"])["revision"].as_str().unwrap().to_owned();
    json_of(dir, &["toggle", "on", "a"]);
    let set = ["toggle", "set", "a", "-", "--revision"];
    for old in [read.as_str(), "0"] {
        let document = "{\"name\":\"a\",\"enabled\":false,\"strategies\":[]}";
        let (code, _, err) = stack(dir, &[&set[..], &[old]].concat(), document);
        assert_eq!(code, Some(1));
        assert!(err.contains("changed by another writer") && err.contains("read it again"), "{err}");
    }
    assert_eq!(json_of(dir, &["toggle", "show", "a"])["document"]["enabled"], true);
}

#[test]
fn what_cannot_be_a_toggle_is_refused_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (code, _, err) = stack(dir, &["toggle", "ls"], "");
    assert_eq!(code, Some(1));
    assert!(err.contains("data/plan") && err.contains("--etcd URL"), "{err}");
    write(dir, "toggles/broken.json", "{\"name\":\"broken\"");
    for (args, input, part) in [
        (&["on", "absent"][..], "", "toggles/absent does not exist"),
        (&["on", "broken"], "", "stack toggle set broken FILE"),
        (&["set", "a", "-"], "{\"name\":\"a\",\n\"enabled\":7}", "-: line 2 column 11: enabled: "),
        (&["set", "a", "-"], "{\"name\":\"b\",\"enabled\":true}", "line 1 column 9: name: is `b`"),
        (&["set", "a", "none.json"], "", "none.json: No such file"),
        (&["ls", "--etcd", "http://127.0.0.1:1", "--plan", "x"], "", "exclude each other"),
    ] {
        let (code, _, err) = stack(dir, &[&["toggle"], args].concat(), input);
        assert_eq!(code, Some(1), "{args:?}: {err}");
        assert!(err.contains(part), "{args:?}: {err}");
    }
    assert_eq!(stack(dir, &["toggle", "on", "a/b"], "").0, Some(2));
    let broken = &json_of(dir, &["toggle", "ls"])[0];
    assert!(
        broken["enabled"].is_null() && broken["refused"].as_str().unwrap().contains("line 1"),
        "{broken}"
    );
}

#[test]
fn a_check_ends_with_1_and_the_position_of_every_fault() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let check = |args: &[&str]| stack(dir, &[&["plan", "check"], args].concat(), "");
    write(dir, "toggles/a.json", "{\"name\":\"a\",\n \"enabled\":true,\"strategies\":[{\"name\":\"odd\"}]}");
    let (code, out, _) = check(&["data/plan"]);
    assert_eq!(code, Some(0), "a warning is no fault: {out}");
    assert!(out.contains("toggles/a.json:2:31: warning: strategies[0]: unknown strategy"), "{out}");

    write(dir, "toggles/b.json", "{\"name\":\"b\",\n \"enabled\":\"yes\"}");
    write(dir, "rollouts/p.json", "{\"stable\":\"1\",\"candidate\":\"2\",\n \"stage_seconds\":0}");
    write(dir, "toggels/c.json", "{}");
    let (code, out, _) = check(&["data/plan"]);
    assert_eq!(code, Some(1));
    for part in [
        "data/plan/toggles/b.json:2:16: error: enabled: ",
        "data/plan/rollouts/p.json:2:18: error: stage_seconds: 0 is not from 1 to",
        "data/plan/toggels/c.json: error: `toggels` is no kind of document",
        "1 documents without faults, 3 faults, 1 warnings",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let (code, out, _) = check(&["data/plan", "-o", "json"]);
    let said: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, said["faults"].as_array().unwrap().len()), (Some(1), 3));
    let fault = said["faults"].as_array().unwrap().iter().find(|fault| fault["line"] == 2).unwrap();
    assert!(fault["column"].as_u64().unwrap() > 1 && fault["file"].is_string(), "{fault}");
    assert_eq!(check(&["absent"]).0, Some(1));
}

#[test]
fn a_rollout_that_flags_describe_is_written_once() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let start = |args: &[&str]| stack(dir, &[&["rollout", "start", "s"], args].concat(), "");
    let versions = ["--stable", "1", "--candidate", "2"];
    let (code, _, err) = start(&[&versions[..], &["--stages", "10,5"]].concat());
    assert_eq!(code, Some(1));
    assert!(err.contains("stages[1].percent: 5 is not above the 10"), "{err}");
    assert_eq!(start(&["--stable", "1"]).0, Some(2), "a candidate is missing");

    let (code, _, err) = start(&[&versions[..], &["--stages", "5,100", "--stage-seconds", "9"]].concat());
    assert_eq!(code, Some(0), "{err}");
    let text = std::fs::read_to_string(dir.join("data/plan/rollouts/s.json")).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["stages"], json!([{ "percent": 5.0 }, { "percent": 100.0 }]));
    assert_eq!((&document["stage_seconds"], &document["min_requests"]), (&json!(9), &Value::Null));
    let (code, _, err) = start(&versions);
    assert_eq!(code, Some(1));
    assert!(err.contains("from 1 to 2 has just been started") && err.contains("--replace"), "{err}");
    assert_eq!(start(&["--stable", "1", "--candidate", "3", "--replace"]).0, Some(0));
}

#[test]
fn ghost_traffic_is_begun_changed_and_ended_by_command() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let ghost = |args: &[&str]| stack(dir, &[&["ghost", "s"], args].concat(), "");
    let file = dir.join("data/plan/ghosts/s.json");
    let document = || -> Value { serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap() };

    let (code, out, err) = ghost(&["--start", "2"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.starts_with("version 2 of s gets copies, revision "), "{out}");
    assert_eq!(document(), json!({ "candidate": "2" }), "the defaults are the document's");
    let more = ["--percent", "50", "--method", "GET", "--method", "POST", "--ignore", "body.at_ms"];
    let written = json_of(dir, &[&["ghost", "s", "--start", "3"], &more[..]].concat());
    let expected =
        json!({ "candidate": "3", "percent": 50.0, "methods": ["GET", "POST"], "ignore": ["body.at_ms"] });
    assert_eq!((document(), &written["key"]), (expected, &json!("ghosts/s")));
    assert_eq!(json_of(dir, &["plan", "check", "data/plan"])["faults"], json!([]));

    let removed = json_of(dir, &["ghost", "s", "--stop"]);
    assert_eq!((&removed["before"], file.exists()), (&written["revision"], false));
    let (code, _, err) = ghost(&["--stop"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("ghosts/s does not exist; `stack ghost` lists what does"), "{err}");
    let history = std::fs::read_to_string(dir.join("data/plan/history.jsonl")).unwrap();
    assert_eq!(history.lines().filter(|line| line.contains("ghosts/s") && line.contains("ann@")).count(), 3);
}

#[test]
fn ghost_traffic_that_cannot_be_is_refused_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let ghost = |args: &[&str]| stack(dir, &[&["ghost"], args].concat(), "");
    for (args, code, part) in [
        (&["s", "--start", "2", "--percent", "120"][..], 1, "percent: 120 is not a percentage"),
        (
            &["s", "--start", "2", "--method", "post"],
            1,
            "methods[0]: `post` is no method: write it in capitals",
        ),
        (&["s", "--start", "2", "--ignore", "at_ms"], 1, "ignore[0]: `at_ms` is no path"),
        (&["s", "--start", ""], 1, "candidate: is empty"),
        (&["s", "--percent", "5"], 2, "--start"),
        (&["--stop"], 2, "SERVICE"),
        (&["s", "--start", "2", "--stop"], 2, "cannot be used with"),
        (&["s", "--admin", "127.0.0.1:1"], 1, "--admin 127.0.0.1:1: "),
    ] {
        let (got, _, err) = ghost(args);
        assert_eq!(got, Some(code), "{args:?}: {err}");
        assert!(err.contains(part), "{args:?}: {err}");
    }
    assert!(!dir.join("data/plan/ghosts").exists(), "nothing was written");
}

/// The document of the rollout of `s`.
fn rollout(dir: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(dir.join("data/plan/rollouts/s.json")).unwrap()).unwrap()
}

/// Stores what a terminator stores when it has obeyed the document's order.
fn obey(dir: &Path) -> State {
    let file = dir.join("data/plan/rollout-state/s.json");
    let document: Document = serde_json::from_value(rollout(dir)).unwrap();
    let known = std::fs::read(&file).ok().map(|known| serde_json::from_slice(&known).unwrap());
    let mut machine = match known {
        Some(state) => Machine::restore(document, state, 1),
        None => Machine::new("s", document, 1),
    };
    machine.obey(1);
    write(dir, "rollout-state/s.json", &serde_json::to_string(machine.state()).unwrap());
    machine.state().clone()
}

#[test]
fn an_order_is_written_once_and_only_an_abort_replaces_one_that_waits() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let order = |args: &[&str]| stack(dir, &[&["rollout"], args].concat(), "");
    let (code, _, err) = order(&["pause", "s"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("there is no rollout of s; `stack rollout start s` begins one"), "{err}");
    assert_eq!(order(&["start", "s", "--stable", "1", "--candidate", "2"]).0, Some(0));
    let (code, _, err) = order(&["resume", "s"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("is running, so it cannot be resumed: it runs by itself"), "{err}");

    let (code, _, err) = order(&["pause", "s", "--wait", "1ms"]);
    assert_eq!(code, Some(1), "no terminator obeys");
    assert!(err.contains("no terminator has read it within 1ms"), "{err}");
    assert_eq!(rollout(dir)["order"]["command"], "pause");
    assert!(rollout(dir)["order"]["who"].as_str().unwrap().starts_with("ann@"));
    let (_, _, err) = order(&["promote", "s"]);
    assert!(err.contains("s is ordered to be paused by ann@") && err.contains("abort"), "{err}");
    assert_eq!(order(&["abort", "s", "--wait", "0s"]).0, Some(0));
    assert_eq!(rollout(dir)["order"]["command"], "abort");
    let lines = std::fs::read_to_string(dir.join("data/plan/history.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 3, "start, pause and abort: {lines}");
}

#[test]
fn an_ended_rollout_begins_again_with_the_same_versions() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let order = |args: &[&str]| stack(dir, &[&["rollout"], args].concat(), "");
    let versions = ["start", "s", "--stable", "1", "--candidate", "2"];
    assert_eq!(order(&versions).0, Some(0));
    let first = obey(dir);
    assert_eq!(order(&["pause", "s", "--wait", "0s"]).0, Some(0));
    assert_eq!(obey(dir).phase, Phase::Paused);
    let (code, _, err) = order(&["pause", "s"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("is paused"), "{err}");
    // Other stages of the same rollout keep its start and its order.
    assert_eq!(order(&[&versions[..], &["--stages", "1,100", "--replace"]].concat()).0, Some(0));
    let continued = obey(dir);
    assert_eq!((continued.phase, continued.start_ms), (Phase::Paused, first.start_ms));
    assert_eq!(order(&["abort", "s", "--wait", "0s"]).0, Some(0));
    assert_eq!(obey(dir).phase, Phase::Aborted);
    let (_, _, err) = order(&["pause", "s"]);
    assert!(err.contains("is aborted") && err.contains("`stack rollout start` begins it again"), "{err}");

    let (code, out, err) = order(&versions);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("from 1 to 2 begins"), "{out}");
    assert_eq!(rollout(dir)["order"], Value::Null);
    let again = obey(dir);
    assert_eq!((again.phase, again.stage), (Phase::Running, 0));
    assert!(again.start_ms > first.start_ms && again.epoch() > continued.epoch());
    let file = "{\"stable\":\"1\",\"candidate\":\"3\",\n\"order\":{\"command\":\"abort\",\"at_ms\":1,\"who\":\"a\"}}";
    let (code, _, err) = stack(dir, &["rollout", "start", "s", "-", "--replace"], file);
    assert_eq!(code, Some(1));
    assert!(err.contains("order: ") && err.contains("remove it"), "{err}");
}
