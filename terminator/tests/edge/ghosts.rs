//! Ghost traffic at the edge: copies for a candidate, whose replies no client ever sees, by a plan
//! in a directory and services over real sockets.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use bus::{Envelope, Flags, Hello};
use serde_json::{Value, json};

use crate::live::put;
use crate::service::{Service, field};
use crate::terminator::Terminator;

/// What an instance does with each request.
type Answer = Box<dyn FnMut(&Envelope) -> Option<(u16, String)> + Send>;

/// A request as an instance has received it: version, method, flag `shadow`, `:pin` and
/// `:priority`.
type Seen = (String, String, bool, Option<String>, Option<String>);

/// An instance of service `s` that answers on a thread of its own until its connection closes. A
/// request for which `answer` returns nothing is never answered.
fn instance(
    terminator: &Terminator,
    [name, version]: [&str; 2],
    seen: Option<SyncSender<Seen>>,
    mut answer: Answer,
) {
    let mut hello = Hello::new("s", version, name);
    hello.routes = ["GET /a", "GET /b", "POST /a"].map(|route| route.parse().unwrap()).to_vec();
    let mut service = Service::join(&terminator.bus(), &hello);
    terminator.until("/peers", |peers| peers.to_string().contains(&format!("\"{name}\"")));
    let version = version.to_owned();
    thread::spawn(move || {
        while let Some(request) = service.try_request() {
            if let Some(seen) = &seen {
                let text = |name| field(&request, name).map(str::to_owned);
                let shadow = request.header().flags.contains(Flags::SHADOW);
                let method = text(":method").unwrap();
                // The test may have seen enough.
                let _ = seen.send((version.clone(), method, shadow, text(":pin"), text(":priority")));
            }
            match answer(&request) {
                Some((0, _)) => return,
                Some((status, body)) => {
                    let json = [("content-type", "application/json")];
                    if !service.try_reply(&request, status, &json, body.as_bytes()) {
                        return;
                    }
                }
                None => {}
            }
        }
    });
}

/// Stable's answers: a timestamp, a random id, and the version.
fn plain(version: &str) -> Answer {
    let version = version.to_owned();
    Box::new(move |_| Some((200, format!(r#"{{"version":"{version}"}}"#))))
}

fn ghost(plan: &Path, percent: f64, methods: &[&str]) {
    let mut document = json!({ "candidate": "2", "percent": percent });
    if !methods.is_empty() {
        document["methods"] = json!(methods);
    }
    put(plan, "ghosts/s.json", &document);
}

/// The deadline is for a busy machine, where an instance may wait for its turn.
fn terminator(plan: &Path, flags: &[&str]) -> Terminator {
    let deadline = if flags.contains(&"--deadline") { &[][..] } else { &["--deadline", "20s"] };
    Terminator::start(&[&["--plan", plan.to_str().unwrap()], deadline, flags].concat())
}

/// Sends `count` requests one after the other; the bodies of the answers.
fn ask(terminator: &Terminator, method: &str, path: &str, count: usize) -> Vec<String> {
    let mut client = terminator.client();
    let answers = (0..count).map(|_| {
        client.send(format!("{method} {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"));
        let answer = client.answer();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.text().to_owned()
    });
    answers.collect()
}

/// Waits until each of `count` requests was compared, lost or skipped; the comparison of `s`.
fn settled(terminator: &Terminator, count: usize) -> Value {
    let number = |ghost: &Value, name: &str| ghost[name].as_u64().unwrap_or(0);
    let all = |ghosts: &Value| {
        let done = ["compared", "lost", "skipped"].map(|name| number(&ghosts[0], name));
        done.iter().sum::<u64>() >= count as u64
    };
    terminator.until("/ghosts", all)[0].clone()
}

fn received(seen: &Receiver<Seen>, count: usize) -> Vec<Seen> {
    (0..count).map(|_| seen.recv_timeout(crate::PATIENCE).expect("a request arrives")).collect()
}

/// On one of two routes the candidate renames a field in 5 % of its answers. All answers hold a
/// timestamp and a random id.
#[test]
fn exactly_the_renamed_field_is_reported() {
    const REQUESTS: usize = 2_000;
    let seed = std::env::var("SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    eprintln!("SEED={seed}");
    let plan = tempfile::tempdir().unwrap();
    ghost(plan.path(), 100.0, &[]);
    let terminator = terminator(plan.path(), &[]);
    for (at, (name, version)) in [("one", "1"), ("two", "1"), ("new", "2")].into_iter().enumerate() {
        let mut random = fastrand::Rng::with_seed(seed.wrapping_add(at as u64));
        let answer = move |request: &Envelope| {
            let is_a = field(request, ":path") == Some("/a");
            let label = if is_a && version == "2" && random.f64() < 0.05 { "full_name" } else { "name" };
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            let (id, at_us) = (random.u64(..), now.as_micros());
            Some((
                200,
                format!(r#"{{"id":"{id:016x}","at_us":{at_us},"member":{{"{label}":"Ann","age":41}}}}"#),
            ))
        };
        instance(&terminator, [name, version], None, Box::new(answer));
    }
    for body in
        [ask(&terminator, "GET", "/a", REQUESTS / 2), ask(&terminator, "GET", "/b", REQUESTS / 2)].concat()
    {
        assert!(!body.contains("full_name"), "a client saw the candidate's answer: {body}");
    }
    let said = settled(&terminator, REQUESTS);
    assert_eq!(
        (&said["service"], &said["candidate"], &said["percent"]),
        (&json!("s"), &json!("2"), &json!(100.0))
    );
    let differences = said["differences"].as_array().unwrap();
    let places: Vec<_> = differences.iter().map(|found| (&found["route"], &found["path"])).collect();
    // The old name is absent from the candidate, the new one from stable.
    let expected = ["body.member.full_name", "body.member.name"].map(|path| (json!("GET /a"), json!(path)));
    assert_eq!(places, expected.iter().map(|(route, path)| (route, path)).collect::<Vec<_>>(), "{said:#}");
    let sample = &differences[1]["samples"][0];
    assert_eq!((&sample["stable"], &sample["candidate"]), (&json!("\"Ann\""), &json!("absent")));
    assert_eq!((&differences[1]["noise"], &said["same_instance"]), (&json!(0), &json!(0)), "{said:#}");
    let compared = said["compared"].as_u64().unwrap();
    assert!(compared > 1_900, "{said:#}");
    let stats = terminator.until("/stats", |stats| stats["ghost.differences"] == 2);
    assert_eq!((&stats["ghost.compared"], &stats["ghost.copies"]), (&json!(compared), &said["copies"]));
}

#[test]
fn copies_are_marked_and_pinned_and_the_candidate_answers_no_client() {
    let plan = tempfile::tempdir().unwrap();
    ghost(plan.path(), 100.0, &[]);
    let terminator = terminator(plan.path(), &[]);
    let (sender, seen) = sync_channel(1024);
    for (name, version) in [("one", "1"), ("two", "1"), ("new", "2")] {
        instance(&terminator, [name, version], Some(sender.clone()), plain(version));
    }
    assert_eq!(ask(&terminator, "GET", "/a", 50), vec![r#"{"version":"1"}"#.to_owned(); 50]);
    let seen = received(&seen, 150);
    let some = |text: &str| Some(text.to_owned());
    let mut counts = [0; 3];
    for (version, _, shadow, pin, priority) in seen {
        let place = match (version.as_str(), shadow) {
            ("1", false) => 0,
            ("1", true) => 1,
            ("2", true) => 2,
            _ => panic!("the candidate got a client's request"),
        };
        counts[place] += 1;
        assert_eq!(pin, Some(format!("s={version}")));
        assert_eq!(priority, if shadow { some("low") } else { None });
    }
    assert_eq!(counts, [50; 3]);
    let said = settled(&terminator, 50);
    assert_eq!(said["compared"], 50, "{said:#}");
    assert_eq!(said["differences"][0]["path"], "body.version", "{said:#}");
}

#[test]
fn post_is_copied_only_when_it_is_named() {
    let plan = tempfile::tempdir().unwrap();
    ghost(plan.path(), 100.0, &[]);
    let terminator = terminator(plan.path(), &[]);
    let (sender, seen) = sync_channel(1024);
    instance(&terminator, ["one", "1"], None, plain("1"));
    instance(&terminator, ["new", "2"], Some(sender), plain("2"));
    ask(&terminator, "POST", "/a", 20);
    ask(&terminator, "GET", "/a", 1);
    assert_eq!(received(&seen, 1)[0].1, "GET", "a copy of a POST would have been before");
    ghost(plan.path(), 100.0, &["POST"]);
    terminator.until("/ghosts", |ghosts| ghosts[0]["methods"] == json!(["POST"]));
    ask(&terminator, "GET", "/a", 20);
    ask(&terminator, "POST", "/a", 1);
    assert_eq!(received(&seen, 1)[0].1, "POST");
}

#[test]
fn the_only_instance_of_stable_gets_the_second_copy_and_the_report_says_so() {
    let plan = tempfile::tempdir().unwrap();
    ghost(plan.path(), 100.0, &[]);
    let terminator = terminator(plan.path(), &[]);
    for (name, version) in [("one", "1"), ("new", "2")] {
        let mut count = 0;
        let answer = move |_: &Envelope| {
            count += 1;
            Some((200, format!(r#"{{"instance":"{name}","count":{count}}}"#)))
        };
        instance(&terminator, [name, version], None, Box::new(answer));
    }
    ask(&terminator, "GET", "/a", 20);
    let said = settled(&terminator, 20);
    assert_eq!((&said["compared"], &said["same_instance"]), (&json!(20), &json!(20)), "{said:#}");
    let paths: Vec<_> = said["differences"].as_array().unwrap().iter().map(|found| &found["path"]).collect();
    assert_eq!(paths, ["body.instance"], "the counter is noise, the name is not: {said:#}");
}

#[test]
fn a_candidate_that_hangs_costs_clients_nothing_and_its_copies_are_lost() {
    let plan = tempfile::tempdir().unwrap();
    ghost(plan.path(), 100.0, &[]);
    let terminator = terminator(plan.path(), &["--deadline", "3s"]);
    instance(&terminator, ["one", "1"], None, plain("1"));
    instance(&terminator, ["new", "2"], None, Box::new(|_| None));
    ask(&terminator, "GET", "/a", 600);
    let said = settled(&terminator, 600);
    assert_eq!(said["compared"], 0, "{said:#}");
    let lost = said["lost"].as_u64().unwrap();
    assert!(lost >= 256, "as many as are in flight at once, at least: {said:#}");
    assert_eq!(said["copies"].as_u64(), Some(lost));
    assert_eq!(terminator.ask("/stats")["ghost.lost"].as_u64(), Some(lost));
}

#[test]
fn a_candidate_that_crashes_or_is_absent_costs_clients_nothing() {
    let plan = tempfile::tempdir().unwrap();
    ghost(plan.path(), 100.0, &[]);
    let terminator = terminator(plan.path(), &[]);
    instance(&terminator, ["one", "1"], None, plain("1"));
    let mut left = 5;
    let dies = move |_: &Envelope| {
        left -= 1;
        Some(if left > 0 { (200, r#"{"version":"1"}"#.to_owned()) } else { (0, String::new()) })
    };
    instance(&terminator, ["new", "2"], None, Box::new(dies));
    ask(&terminator, "GET", "/a", 100);
    let said = settled(&terminator, 100);
    let count = |name: &str| said[name].as_u64().unwrap();
    assert_eq!((count("copies"), count("compared") + count("lost")), (100, 100), "{said:#}");
    assert!(count("compared") <= 4 && count("lost") >= 96, "{said:#}");
}

#[test]
fn without_stable_a_client_is_refused_and_does_not_meet_the_candidate() {
    let plan = tempfile::tempdir().unwrap();
    ghost(plan.path(), 0.0, &[]);
    let terminator = terminator(plan.path(), &["--hold", "0s"]);
    terminator.until("/ghosts", |ghosts| ghosts[0]["percent"] == 0.0);
    instance(&terminator, ["new", "2"], None, plain("2"));
    let refused = terminator.client().get("/a");
    refused.problem(503, "no_instance");
    std::fs::remove_file(plan.path().join("ghosts/s.json")).unwrap();
    terminator.until("/ghosts", |ghosts| ghosts == &json!([]));
    assert_eq!(terminator.client().get("/a").text(), r#"{"version":"2"}"#);
}

#[test]
fn a_ghost_stage_passes_by_its_copies_and_what_it_found_is_kept() {
    let plan = tempfile::tempdir().unwrap();
    let terminator = terminator(plan.path(), &[]);
    for (name, version) in [("one", "1"), ("two", "1"), ("new", "2")] {
        instance(&terminator, [name, version], None, plain(version));
    }
    let rollout = json!({
        "stable": "1", "candidate": "2", "stages": [{ "ghost": 100 }, { "percent": 100 }],
        "stage_seconds": 1, "min_requests": 200, "checks": { "p99": null },
    });
    put(plan.path(), "rollouts/s.json", &rollout);
    terminator.until("/rollouts", |rollouts| rollouts[0]["ghost"] == 100.0);
    let (mut answers, begun) = (Vec::new(), std::time::Instant::now());
    let said = loop {
        answers.extend(ask(&terminator, "GET", "/a", 50));
        let said = terminator.ask("/rollouts");
        if said[0]["stage"] != 0 {
            break said;
        }
        assert!(begun.elapsed() < crate::PATIENCE, "{said:#}");
    };
    assert_eq!(said[0]["percent"], 100.0, "{said:#}");
    assert!(answers.is_sorted(), "version 2 answers once the stage has passed, and not before");
    assert!(answers.iter().filter(|answer| answer.contains(r#""1""#)).count() >= 200);
    let entry =
        said[0]["history"].as_array().unwrap().iter().find(|entry| entry["percent"] == 100.0).unwrap();
    assert!(entry["reason"].as_str().unwrap().starts_with("candidate 0.0 % errors of "), "{said:#}");
    let after = terminator.until("/ghosts", |ghosts| ghosts[0]["percent"] == 0.0);
    assert_eq!(after[0]["differences"][0]["path"], "body.version", "{after:#}");
    assert_eq!(ask(&terminator, "GET", "/a", 1), [r#"{"version":"2"}"#]);
}

#[test]
fn a_candidate_that_fails_its_copies_is_taken_back_before_a_client_meets_it() {
    let plan = tempfile::tempdir().unwrap();
    let terminator = terminator(plan.path(), &[]);
    for (name, version, status) in [("one", "1", 200), ("two", "1", 200), ("new", "2", 500)] {
        let body = format!(r#"{{"version":"{version}"}}"#);
        instance(&terminator, [name, version], None, Box::new(move |_| Some((status, body.clone()))));
    }
    let rollout = json!({
        "stable": "1", "candidate": "2", "stages": [{ "ghost": 100 }, { "percent": 100 }],
        "stage_seconds": 3600, "min_requests": 100,
    });
    put(plan.path(), "rollouts/s.json", &rollout);
    terminator.until("/rollouts", |rollouts| rollouts[0]["ghost"] == 100.0);
    assert_eq!(ask(&terminator, "GET", "/a", 100), vec![r#"{"version":"1"}"#.to_owned(); 100]);
    let said = terminator.until("/rollouts", |rollouts| rollouts[0]["state"] == "rolled_back");
    assert_eq!((&said[0]["percent"], &said[0]["ghost"]), (&json!(0.0), &json!(0.0)), "{said:#}");
    assert_eq!(terminator.ask("/ghosts")[0]["differences"][0]["path"], "body.version");
}
