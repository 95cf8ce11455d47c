//! `stack seed` against a counting server: what is sent, in which order, what is repeated, how it
//! ends.

#![allow(
    clippy::unwrap_used,
    reason = "all of this crate is tests; clippy knows only the functions marked so"
)]

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};

/// `METHOD /path body`.
type Answer = dyn Fn(usize, &str) -> &'static str + Send + Sync;

const OK: &str = "HTTP/1.1 204 No Content\r\n\r\n";
const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n";
const NO: &str = "HTTP/1.1 422 Unprocessable Entity\r\ncontent-length: 18\r\n\r\n{\"detail\":\"Never\"}";

/// Records every request in order of arrival; ends with the test's process.
struct Server {
    address: String,
    got: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// `answer` receives a request's number, from 1, and its text.
    fn start(answer: impl Fn(usize, &str) -> &'static str + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (got, answer) =
            (Arc::<Mutex<Vec<String>>>::default(), Arc::<Answer>::from(Box::new(answer) as Box<Answer>));
        let server = Self { address, got: Arc::clone(&got) };
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (got, answer) = (Arc::clone(&got), Arc::clone(&answer));
                std::thread::spawn(move || serve(stream, &got, &*answer));
            }
        });
        server
    }

    fn got(&self) -> Vec<String> {
        self.got.lock().unwrap().clone()
    }
}

/// Serves a connection until the client closes it.
fn serve(mut stream: TcpStream, got: &Mutex<Vec<String>>, answer: &Answer) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let (mut head, mut line, mut length) = (String::new(), String::new(), 0);
        reader.read_line(&mut head).ok().filter(|&read| read > 0)?;
        while reader.read_line(&mut line).ok()? > 2 {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            line.clear();
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let request = format!("{} {}", head.strip_suffix(" HTTP/1.1\r\n")?, String::from_utf8(body).ok()?);
        let number = {
            let mut got = got.lock().unwrap();
            got.push(request.clone());
            got.len()
        };
        stream.write_all(answer(number, &request).as_bytes()).ok()?;
    }
}

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stack"));
    command.arg("seed").args(args).current_dir(dir).stdin(Stdio::null());
    command
}

fn seed(dir: &Path, args: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command(dir, args).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

/// The requests of a population, as the server sees them.
fn population(dir: &Path, args: &[&str]) -> Vec<String> {
    let output = command(dir, &[args, &["--output", "-"]].concat()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let request = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let body = line.get("body").map(ToString::to_string).unwrap_or_default();
        format!("{} {} {body}", line["method"].as_str().unwrap(), line["path"].as_str().unwrap())
    };
    lines.lines().map(request).collect()
}

/// `/feeds/7` of `PUT /feeds/7/follows/8 ..`.
fn subject(request: &str) -> String {
    let path = request.split(' ').nth(1).unwrap();
    path.split('/').take(3).collect::<Vec<_>>().join("/")
}

fn by_subject(requests: &[String]) -> HashMap<String, Vec<&String>> {
    let mut subjects: HashMap<String, Vec<&String>> = HashMap::new();
    for request in requests {
        subjects.entry(subject(request)).or_default().push(request);
    }
    subjects
}

#[test]
fn all_arrive_once_those_of_one_subject_in_order_and_follows_after_all_profiles() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(|_, _| OK);
    let args = ["--members", "100", "--days", "2"];
    let (code, said) = seed(dir.path(), &[&args[..], &["--target", &server.address]].concat());
    assert_eq!(code, Some(0), "{said}");
    let (got, expected) = (server.got(), population(dir.path(), &args));
    assert_eq!(by_subject(&got), by_subject(&expected));
    assert!(got[..100].iter().all(|request| request.starts_with("PUT /profiles/")), "profiles come first");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the checkpoint is gone");
}

#[test]
fn stopped_by_a_signal_it_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let child = Arc::new(Mutex::new(None));
    let to_stop = Arc::clone(&child);
    let server = Server::start(move |number, _| {
        if number == 700 {
            let pid: Pid = to_stop.lock().unwrap().expect("it runs, since it sends");
            kill_process(pid, Signal::INT).unwrap();
        }
        OK
    });
    let args = ["--members", "500", "--days", "3"];
    let sent = [&args[..], &["--target", &server.address]].concat();
    let stopped = {
        // Locked, so that the server finds the process to stop however early it is asked.
        let mut pid = child.lock().unwrap();
        let stopped = command(dir.path(), &sent).stderr(Stdio::piped()).spawn().unwrap();
        *pid = Pid::from_raw(i32::try_from(stopped.id()).unwrap());
        stopped
    };
    let stopped = stopped.wait_with_output().unwrap();
    assert_eq!(stopped.status.code(), Some(130), "{stopped:?}");
    let before = server.got().len();

    let expected = population(dir.path(), &args);
    assert!(before < expected.len(), "it was stopped in the middle");
    let (code, said) = seed(dir.path(), &sent);
    assert!(code == Some(0) && said.contains("continues after request "), "{said}");
    let got = server.got();
    // Outstanding requests may have arrived before the gap at which the checkpoint stops.
    let unique: HashSet<&String> = got.iter().collect();
    assert_eq!(unique, expected.iter().collect::<HashSet<_>>());
    let first_again = got[before..].iter().position(|request| *request == expected[0]);
    assert_eq!(first_again, None, "it did not begin anew");
}

#[test]
fn busy_target_is_asked_again_until_it_takes_the_request() {
    let dir = tempfile::tempdir().unwrap();
    let asked = Mutex::new(HashSet::new());
    let server = Server::start(
        move |_, request| {
            if asked.lock().unwrap().insert(request.to_owned()) { BUSY } else { OK }
        },
    );
    let args = ["--members", "10", "--days", "0"];
    let (code, said) = seed(dir.path(), &[&args[..], &["--target", &server.address]].concat());
    let expected = population(dir.path(), &args);
    assert!(code == Some(0) && said.contains(&format!("{} repeated", expected.len())), "{said}");
    assert_eq!(server.got().len(), 2 * expected.len());
}

#[test]
fn who_stays_busy_is_given_up_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(|_, _| BUSY);
    let args = ["--members", "1", "--days", "0", "--patience", "1ms", "--target", &server.address];
    let (code, said) = seed(dir.path(), &args);
    assert!(code == Some(1) && said.contains("request 1: 503") && said.contains("--patience"), "{said}");
    assert_eq!(server.got().len(), 1);
}

#[test]
fn bad_line_is_named_and_stops_it_there_or_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(|_, request| if request.contains("/profiles/eve") { NO } else { OK });
    let lines = ["{\"id\":\"a/b\"}", "", "no json", "{\"id\":\"eve\"}", "{\"id\":3}"].join("\n");
    std::fs::write(dir.path().join("m.jsonl"), lines).unwrap();
    let args = ["--from", "m.jsonl", "--path", "/profiles/{id}", "--target", &server.address];
    let (code, said) = seed(dir.path(), &args);
    assert!(
        code == Some(1) && said.contains("m.jsonl:3: no JSON object") && said.contains("--skip-bad"),
        "{said}"
    );
    assert_eq!(server.got(), ["PUT /profiles/a%2Fb {\"id\":\"a/b\"}"]);

    let (code, said) = seed(dir.path(), &[&args[..], &["--skip-bad"]].concat());
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("continues after") && said.contains("m.jsonl:4: 422: Never"), "{said}");
    assert!(said.contains("2 bad lines skipped"), "{said}");
    // Over several connections the order is not fixed.
    let got: std::collections::BTreeSet<_> = server.got().into_iter().collect();
    let expected = [
        "PUT /profiles/3 {\"id\":3}",
        "PUT /profiles/a%2Fb {\"id\":\"a/b\"}",
        "PUT /profiles/eve {\"id\":\"eve\"}",
    ];
    assert_eq!(got, expected.map(str::to_owned).into());
    assert_eq!(server.got().len(), 3, "the first line was in already");
}

#[test]
fn same_seed_gives_the_same_bytes_and_they_can_be_sent() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--members", "20", "--days", "1", "--seed", "9", "--output"];
    for name in ["one.jsonl", "two.jsonl"] {
        assert_eq!(seed(dir.path(), &[&args[..], &[name]].concat()).0, Some(0));
    }
    let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
    assert!(!read("one.jsonl").is_empty() && read("one.jsonl") == read("two.jsonl"));

    let server = Server::start(|_, _| OK);
    let (code, said) = seed(dir.path(), &["--from", "one.jsonl", "--target", &server.address]);
    assert_eq!(code, Some(0), "{said}");
    let expected = population(dir.path(), &args[..6]);
    assert_eq!(by_subject(&server.got()), by_subject(&expected));
}

#[test]
fn what_cannot_be_meant_is_a_usage_error() {
    let dir = tempfile::tempdir().unwrap();
    for args in [
        &[][..],
        &["--members", "0"],
        &["--members", "1", "--from", "x"],
        &["--members", "1", "--target", "https://x"],
        &["--from", "x", "--path", "/a/{id"],
        &["--from", "x", "--method", "POST"],
    ] {
        let (code, said) = seed(dir.path(), args);
        assert_eq!(code, Some(2), "{args:?}: {said}");
    }
    let (code, said) = seed(dir.path(), &["--members", "1", "--target", "http://127.0.0.1:1"]);
    assert!(code == Some(1) && said.contains("start the stack"), "{said}");
}
