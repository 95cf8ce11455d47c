//! `stack seed --direct`: what it writes into stores is what the same requests write over HTTP.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::http::get;
use crate::process::{Process, role};
use crate::until::until;
use crate::whole::Stack;

const MEMBERS: usize = 8;

/// `stack seed` with these arguments, in a directory of its own for its checkpoint.
fn seed(directory: &Path, args: &[&str]) -> Process {
    let mut command = Command::new(role("stack"));
    command.arg("seed").args(args).current_dir(directory);
    Process::start("seed", &mut command)
}

fn seeded(directory: &Path, args: &[&str]) {
    let mut seed = seed(directory, args);
    assert_eq!(seed.wait().code(), Some(0), "{:?}", seed.lines());
}

/// Stops a stack, whose services then have closed their stores.
fn stop(mut stack: Stack) {
    stack.process.signal(Signal::INT);
    assert_eq!(stack.process.wait().code(), Some(0), "{:?}", stack.process.lines());
}

fn direct(data: &Path) -> String {
    format!("embedded:{}", data.display())
}

/// Every answer about a population, by path.
fn answers(data: &Path, paths: &BTreeSet<String>) -> BTreeMap<String, Value> {
    let stack = Stack::start(data);
    let answer = |path: &String| {
        let response = get(stack.http, path);
        assert_eq!(response.status, 200, "{path}: {response:?}");
        (path.clone(), response.json())
    };
    paths.iter().map(answer).collect()
}

/// Replaces times by 0, and positions, which differ from run to run, by their places in the order.
fn without_moments(answers: &mut BTreeMap<String, Value>) {
    let is_position = |text: &str| text.len() >= 20 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut positions = BTreeSet::new();
    for answer in answers.values_mut() {
        walk(answer, &mut |value| {
            if let Value::String(text) = value
                && is_position(text)
            {
                positions.insert(text.clone());
            }
        });
    }
    let places: BTreeMap<String, usize> = positions.into_iter().zip(0..).collect();
    for answer in answers.values_mut() {
        walk(answer, &mut |value| {
            let place = value.as_str().and_then(|text| places.get(text));
            if let Some(place) = place {
                *value = (*place).into();
            } else if let Some(time) = value.get_mut("at_ms") {
                *time = 0.into();
            }
        });
    }
}

fn walk(value: &mut Value, visit: &mut impl FnMut(&mut Value)) {
    visit(value);
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| walk(item, visit)),
        Value::Object(members) => members.values_mut().for_each(|member| walk(member, visit)),
        _ => (),
    }
}

#[test]
fn a_population_is_the_same_through_http_and_straight_into_the_stores() {
    let [http, stores] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let members = MEMBERS.to_string();
    seeded(http.path(), &["--members", &members, "--days", "2", "--output", "population.jsonl"]);
    let file = http.path().join("population.jsonl");
    let mut text = std::fs::read_to_string(&file).unwrap();
    for id in 1..=3 {
        text.push_str(&format!(
            "{{\"method\":\"POST\",\"path\":\"/events\",\"body\":{{\"events\":[{{\"id\":\"{id}\",\"type\":\"A\",\"tags\":[\"t\"]}}]}}}}\n"
        ));
    }
    std::fs::write(&file, &text).unwrap();

    let mut paths = BTreeSet::from(["/events?tags=t".to_owned(), "/profiles?after=m&limit=1000".to_owned()]);
    for member in 1..=MEMBERS {
        let of = [
            "/profiles/m{}",
            "/feeds/m{}?limit=200",
            "/feeds/m{}/follows",
            "/feeds/m{}/unread",
            "/members/m{}",
        ];
        paths.extend(of.map(|path| path.replace("{}", &member.to_string())));
    }
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let path = line["path"].as_str().unwrap();
        paths.extend(path.starts_with("/chats/").then(|| format!("{path}?limit=200")));
    }

    // With one request at a time the order of everything is that of the file.
    let from = ["--from", file.to_str().unwrap(), "--connections", "1"];
    let stack = Stack::start(http.path());
    let target = format!("http://{}", stack.http);
    seeded(http.path(), &[&from[..], &["--target", &target]].concat());
    stop(stack);
    seeded(stores.path(), &[&from[..], &["--no-build", "--direct", &direct(stores.path())]].concat());
    let [mut http, mut stores] = [http, stores].map(|data| answers(data.path(), &paths));
    without_moments(&mut http);
    without_moments(&mut stores);
    for (path, answer) in &http {
        assert_eq!(Some(answer), stores.get(path), "{path}");
    }
    assert_eq!(http["/events?tags=t"]["events"].as_array().map(Vec::len), Some(3));
}

#[test]
fn a_store_that_is_in_use_or_of_another_service_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let stack = Stack::start(data.path());
    let refused = |what: &str| {
        let mut seed = seed(data.path(), &["--members", "5", "--no-build", "--direct", &direct(data.path())]);
        assert_eq!(seed.wait().code(), Some(1), "{:?}", seed.lines());
        let said = seed.lines().join("\n");
        assert!(said.contains(what) && said.contains("--direct"), "{said}");
    };
    refused("profile");
    stop(stack);
    std::fs::remove_dir_all(data.path().join("feed")).unwrap();
    std::fs::rename(data.path().join("chat"), data.path().join("feed")).unwrap();
    refused("belongs to chat");
}

#[test]
fn a_path_of_no_service_with_a_store_is_a_bad_line() {
    let data = tempfile::tempdir().unwrap();
    let lines = [
        r#"{"method":"PUT","path":"/profiles/a","body":{"n":1}}"#,
        r#"{"method":"PUT","path":"/profiles/b","body":[]}"#,
        r#"{"method":"POST","path":"/members/a/feed","body":{}}"#,
    ];
    std::fs::write(data.path().join("lines.jsonl"), lines.join("\n")).unwrap();
    let store = direct(data.path());
    let mut seed =
        seed(data.path(), &["--from", "lines.jsonl", "--skip-bad", "--no-build", "--direct", &store]);
    assert_eq!(seed.wait().code(), Some(3), "{:?}", seed.lines());
    let said = seed.lines().join("\n");
    for part in ["lines.jsonl:2: 400", "lines.jsonl:3: 404", "--direct loads /profiles"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let stack = Stack::start(data.path());
    assert_eq!(get(stack.http, "/profiles/a").json()["n"], 1);
}

#[test]
fn a_stopped_load_continues_where_it_was_stopped() {
    let data = tempfile::tempdir().unwrap();
    let store = direct(data.path());
    let population = ["--members", "16", "--days", "1", "--connections", "2", "--checkpoint", "done"];
    let args = [&population[..], &["--no-build", "--direct", &store]].concat();
    let mut first = seed(data.path(), &args);
    until("there is a checkpoint", || match data.path().join("done").exists() {
        true => Ok(()),
        false => Err("none".to_owned()),
    });
    first.signal(Signal::INT);
    let code = first.wait().code();
    assert!(matches!(code, Some(0 | 130)), "{code:?} {:?}", first.lines());
    let mut second = seed(data.path(), &args);
    assert_eq!(second.wait().code(), Some(0), "{:?}", second.lines());
    let continued = second.lines().iter().any(|line| line.contains("continues after"));
    assert_eq!(continued, code == Some(130), "{:?}", second.lines());
    let stack = Stack::start(data.path());
    assert_eq!(get(stack.http, "/profiles/m16").json()["id"], "m16");
}
