//! Programs in Python and C, written from PROTOCOL.md alone, as services, publishers and
//! subscribers.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::process::Process;
use crate::terminator::Terminator;
use crate::tools::{self, guest, python};
use crate::until::until;
use crate::wire::{HELLO, Message, Pipe, REPLY, REQUEST};

/// One of the example services of infra/guests, ready to run.
struct Example {
    /// The program, and its arguments in front of the URL.
    program: Vec<PathBuf>,
    service: &'static str,
    /// The language's name in its route and its instance.
    language: &'static str,
    content_type: &'static str,
    /// The body for a name, answered by a process id.
    body: fn(&str, u32) -> String,
    /// The directory of a compiled program.
    _dir: Option<tempfile::TempDir>,
}

impl Example {
    fn python() -> Option<Self> {
        Some(Self {
            program: vec![python()?, "-u".into(), tools::guest_source("hello.py")],
            service: "py-hello",
            language: "py",
            content_type: "application/json",
            body: |name, pid| format!(r#"{{"hello": "{name}", "pid": {pid}}}"#),
            _dir: None,
        })
    }

    fn c() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        Some(Self {
            program: vec![tools::compiled_guest("hello.c", dir.path())?],
            service: "c-hello",
            language: "c",
            content_type: "text/plain",
            body: |name, _| format!("Hello, {name}!\n"),
            _dir: Some(dir),
        })
    }

    fn start(&self, args: &[&str]) -> Process {
        Process::start("guest", Command::new(&self.program[0]).args(&self.program[1..]).args(args))
    }

    /// The guest answers, and appears in `/peers`, `/routes` and `/stats`.
    fn serves(&self, terminator: &Terminator, guest: &Process) {
        let Self { service, language, content_type, body, .. } = self;
        let peer = &terminator.wait_peers(service, 1)[0];
        assert_eq!(peer["instance"], format!("{language}-{}", guest.pid()));
        assert!(terminator.admin("/routes").to_string().contains(&format!("GET /{language}/{{name}}")));
        let sent = terminator.counter("bus.requests.sent");
        for name in ["ann", "bob?loud=1", "c%20d"] {
            let answer = terminator.get(&format!("/{language}/{name}"));
            assert_eq!(answer.status, 200, "{answer:?}");
            assert_eq!(answer.header("content-type"), Some(*content_type));
            let name = name.split('?').next().unwrap();
            assert_eq!(answer.text(), body(name, guest.pid()));
        }
        assert_eq!(terminator.counter("bus.requests.sent"), sent + 3);
        assert_eq!(terminator.counter("bus.replies.received"), sent + 3);
        let missing = terminator.get("/nobody/claims/this");
        let content_type = missing.header("content-type");
        assert_eq!((missing.status, content_type), (404, Some("application/problem+json")));
    }

    fn dials(&self, scheme: &str) {
        let terminator = Terminator::start(&[]);
        let mut guest = self.start(&[terminator.bus(scheme)]);
        self.serves(&terminator, &guest);
        guest.kill();
        terminator.wait_peers(self.service, 0);
        let gone = terminator.get(&format!("/{}/ann", self.language));
        assert_eq!((gone.status, gone.header("content-type")), (503, Some("application/problem+json")));
        assert!(gone.text().contains(self.service), "the reason names the service: {}", gone.text());
    }

    fn listens(&self, url: &str) {
        let terminator = Terminator::start(&["--bus-dial", url]);
        let mut first = self.start(&[url, "--listen"]);
        self.serves(&terminator, &first);
        first.kill();
        terminator.wait_peers(self.service, 0);
        // The terminator dials again by itself.
        let second = self.start(&[url, "--listen"]);
        let peer = &terminator.wait_peers(self.service, 1)[0];
        assert_eq!(peer["instance"], format!("{}-{}", self.language, second.pid()));
        assert_eq!(terminator.get(&format!("/{}/ann", self.language)).status, 200);
    }
}

/// A Unix socket for a guest, in a directory that only the test knows.
fn ipc_address(dir: &tempfile::TempDir) -> String {
    format!("ipc://{}/guest", dir.path().display())
}

/// A TCP port that was free a moment ago. A guest cannot report the port it got, so the test
/// chooses it.
fn tcp_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("tcp://{}", listener.local_addr().unwrap())
}

#[test]
fn a_guest_that_dials_over_tcp_serves() {
    let Some(example) = Example::python() else { return };
    example.dials("tcp");
}

#[test]
fn a_guest_that_dials_over_ipc_serves() {
    let Some(example) = Example::python() else { return };
    example.dials("ipc");
}

#[test]
fn a_guest_that_listens_on_tcp_is_dialled_and_serves() {
    let Some(example) = Example::python() else { return };
    example.listens(&tcp_address());
}

#[test]
fn a_guest_that_listens_on_ipc_is_dialled_and_serves() {
    let Some(example) = Example::python() else { return };
    let dir = tempfile::tempdir().unwrap();
    example.listens(&ipc_address(&dir));
}

#[test]
fn a_guest_in_c_that_dials_serves() {
    let Some(example) = Example::c() else { return };
    example.dials("tcp");
    example.dials("ipc");
}

#[test]
fn a_guest_in_c_that_listens_is_dialled_and_serves() {
    let Some(example) = Example::c() else { return };
    let dir = tempfile::tempdir().unwrap();
    example.listens(&tcp_address());
    example.listens(&ipc_address(&dir));
}

#[test]
fn a_guest_is_found_again_by_a_terminator_that_was_restarted() {
    let Some(example) = Example::python() else { return };
    let url = tcp_address();
    let guest = example.start(&[&url, "--listen"]);
    for _ in 0..2 {
        let mut terminator = Terminator::start(&["--bus-dial", &url]);
        example.serves(&terminator, &guest);
        terminator.process.kill();
    }
}

#[test]
fn events_pass_from_guest_to_guest_by_the_terminator() {
    let Some(python) = python() else { return };
    let terminator = Terminator::start(&[]);
    let mut subscribers =
        ["tcp", "ipc"].map(|scheme| guest(&python, "events.py", &[terminator.bus(scheme), "greetings"]));
    let mut other = guest(&python, "events.py", &[terminator.bus("tcp"), "weather"]);
    for subscriber in subscribers.iter_mut().chain([&mut other]) {
        subscriber.wait_line("its ping has a pong", |line| line.starts_with("pong after").then_some(()));
    }
    terminator.wait_peers("py-events", 3);

    let say = |topic: &str, text: &str| {
        let mut publisher = guest(&python, "events.py", &[terminator.bus("ipc"), topic, "--say", text]);
        publisher.wait_line("its event was carried", |line| line.starts_with("carried after").then_some(()));
        assert!(publisher.wait().success());
    };
    say("greetings", "good morning");
    say("weather", "rain");

    let event = |line: &str| serde_json::from_str::<Value>(line).ok();
    for subscriber in &mut subscribers {
        let got = subscriber.wait_line("an event", event);
        assert_eq!((&got["topic"], &got["body"]), (&"greetings".into(), &"good morning".into()));
    }
    let got = other.wait_line("an event", event);
    assert_eq!((&got["topic"], &got["body"]), (&"weather".into(), &"rain".into()));
    assert!(
        subscribers.iter().all(|subscriber| !subscriber.lines().iter().any(|line| line.contains("rain"))),
        "only the topics of the hello are passed on"
    );
    assert!(terminator.counter("bus.pings.received") >= 5);
    // Both publishers are gone; the subscribers remain.
    until("the publishers are gone", || match terminator.peers("py-events").len() {
        3 => Ok(()),
        count => Err(count.to_string()),
    });
}

/// The flag of a copy.
const SHADOW: u16 = 2;

/// What a terminator has decided for a request of the test.
const DECIDED: [(&str, &str); 3] = [(":toggle", "shout=!!"), (":pin", "c-hello=1"), (":priority", "low")];

/// Connects to a guest that listens at `url`, as a terminator does.
fn connect(url: &str) -> Pipe {
    until("the guest listens", || Pipe::open(url).map_err(|error| error.to_string()))
}

/// A request for `path` with these fields before an ordinary header.
fn request(path: &str, flags: u16, decided: &[(&str, &str)]) -> Message {
    let mut fields = vec![(":method", "GET"), (":path", path)];
    fields.extend(decided);
    fields.push(("accept", "*/*"));
    let correlation = *b"a test's request";
    Message { flags, correlation, ttl_us: 20_000_000, ..Message::new(REQUEST, &fields) }
}

fn answer(pipe: &mut Pipe, request: &Message) -> String {
    pipe.send(&request.pack()).unwrap();
    let reply = pipe.receive_kind(REPLY).unwrap();
    assert_eq!((reply.correlation, reply.status), (request.correlation, 200));
    String::from_utf8(reply.body).unwrap()
}

/// The guest reads a toggle and its variant, and leaves out its effect for a copy.
fn reads_decisions(example: &Example, loud: &str, quiet: &str) {
    let url = tcp_address();
    let mut guest = example.start(&[&url, "--listen"]);
    let mut pipe = connect(&url);
    assert_eq!(pipe.receive_kind(HELLO).unwrap().field("toggle"), Some("shout"));
    let path = format!("/{}/ann", example.language);
    let mut ask = |flags, decided: &[_]| answer(&mut pipe, &request(&path, flags, decided));
    assert!(ask(SHADOW, &DECIDED).contains(loud));
    assert!(ask(0, &[]).contains(quiet));
    guest.wait_line("its effect", |line| (line == "greeted ann").then_some(()));
    let effects = guest.lines().iter().filter(|line| line.starts_with("greeted")).count();
    assert_eq!(effects, 1, "the copy, which came first, has none");
    assert!(ask(0, &[(":toggle", "shouting"), (":toggle", "other=shout")]).contains(quiet));
    assert!(!ask(0, &[(":toggle", "shout")]).contains("!!"), "it has no variant");
    assert!(ask(0, &[("accept", "*/*"), (":toggle", "shout")]).contains(quiet), "behind a header");
}

/// A guest that asks another service passes the decisions on.
fn passes_on(start: impl Fn(&str, &str) -> Process, path: &str, asked: &str) {
    let (url, upstream) = (tcp_address(), tcp_address());
    let _guest = start(&url, &upstream);
    let (mut pipe, mut service) = (connect(&url), connect(&upstream));
    assert_eq!(pipe.receive_kind(HELLO).unwrap().field("toggle"), Some("shout"));
    for flags in [0, SHADOW] {
        let mut decided = DECIDED.to_vec();
        decided.push(("traceparent", "00-a-b-00"));
        pipe.send(&request(path, flags, &decided).pack()).unwrap();
        let onward = service.receive_kind(REQUEST).unwrap();
        let mut expected = vec![(":method", "GET"), (":path", asked)];
        expected.extend(decided);
        let fields = onward.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        assert_eq!(fields.collect::<Vec<_>>(), expected);
        assert_eq!((onward.flags, onward.ttl_us), (flags, 20_000_000));
        service.send(&onward.reply(200, b"from behind").pack()).unwrap();
        let reply = pipe.receive_kind(REPLY).unwrap();
        assert_eq!((reply.status, &reply.body[..]), (200, &b"from behind"[..]));
    }
}

#[test]
fn a_guest_reads_a_toggle_and_knows_a_copy() {
    if let Some(example) = Example::python() {
        reads_decisions(&example, r#""ANN!!""#, r#""ann""#);
    }
    if let Some(example) = Example::c() {
        reads_decisions(&example, "HELLO, ann!!!", "Hello, ann!\n");
    }
}

#[test]
fn a_guest_passes_the_decisions_of_the_edge_on() {
    if let Some(python) = python() {
        let start = |url: &str, upstream: &str| {
            guest(&python, "front.py", &[url, "--listen", "--upstream", upstream])
        };
        passes_on(start, "/py-front/ann", "/py/ann");
    }
    let dir = tempfile::tempdir().unwrap();
    if let Some(binary) = tools::compiled_guest("front.c", dir.path()) {
        let start = |url: &str, upstream: &str| {
            Process::start("guest", Command::new(&binary).args([upstream, url, "--listen"]))
        };
        passes_on(start, "/c-front/ann", "/c/ann");
    }
}
