//! Terminators and services that find each other in a real etcd, by the name of a bus.
//!
//! Owns the tests of the flags over whole processes; `change`'s own tests have the rule of who is
//! dialled, and what happens to a source when etcd is paused or loses its data.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::http::{Client, get};
use crate::load::Load;
use crate::process::Process;
use crate::terminator::Terminator;
use crate::tools::program;
use crate::until::until;

/// A server of etcd that keeps its data when it is killed.
struct Etcd {
    program: std::path::PathBuf,
    dir: tempfile::TempDir,
    urls: [String; 2],
    process: Option<Process>,
}

impl Etcd {
    /// `None` after a line with the reason when etcd is not installed.
    fn start() -> Option<Self> {
        let program = program("etcd")?;
        let ports = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let urls = ports.map(|port| format!("http://{}", port.local_addr().unwrap()));
        let mut etcd = Self { program, dir: tempfile::tempdir().unwrap(), urls, process: None };
        etcd.run();
        Some(etcd)
    }

    fn run(&mut self) {
        let [client, peer] = &self.urls;
        let mut command = Command::new(&self.program);
        command.arg("--data-dir").arg(self.dir.path().join("data"));
        command.args(["--listen-client-urls", client, "--advertise-client-urls", client]);
        command.args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]);
        command.args(["--initial-cluster", &format!("default={peer}")]);
        command.env("ETCD_UNSUPPORTED_ARCH", std::env::consts::ARCH);
        self.process = Some(Process::start("etcd", &mut command));
    }

    fn url(&self) -> &str {
        &self.urls[0]
    }
}

/// A terminator whose listener is published on the bus `front`.
fn terminator(etcd: &Etcd) -> Terminator {
    Terminator::start(&["--bus-name", "front", "--etcd", etcd.url(), "--workers", "2"])
}

/// A service that joins every terminator of `front`.
fn profile(etcd: &Etcd, dir: &Path) -> Process {
    let (store, admin) = (format!("embedded:{}/store", dir.display()), admin(dir));
    let flags = ["--bus-join", "front", "--etcd", etcd.url(), "--store", &store];
    Process::role("profile", &[&flags[..], &["--admin", &format!("unix:{admin}")]].concat())
}

fn admin(dir: &Path) -> String {
    format!("{}/admin.sock", dir.display())
}

fn serves(terminator: &Terminator) {
    until("the terminator has the service", || match terminator.get("/profiles?limit=1").status {
        200 => Ok(()),
        status => Err(status.to_string()),
    });
}

/// The endpoints that the service dials without success.
fn failing(dir: &Path) -> Vec<String> {
    let answer = Client::connect_unix(Path::new(&admin(dir)))
        .and_then(|mut admin| admin.send("GET", "/ready", &[], b""));
    let ready = answer.unwrap().json();
    let dials = ready["failing_dials"].as_array().cloned().unwrap_or_default();
    dials.iter().map(|dial| dial["endpoint"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn terminators_that_join_get_traffic_and_one_that_dies_is_given_up() {
    let Some(etcd) = Etcd::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut first = terminator(&etcd);
    let _profile = profile(&etcd, dir.path());
    serves(&first);
    let second = terminator(&etcd);
    serves(&second);

    let load = Load::start(second.http, 2, u64::MAX, |_| "/profiles?limit=1".to_owned());
    let gone = first.bus("tcp").to_owned();
    first.process.kill();
    until("the service notices the end", || match failing(dir.path()) {
        dials if dials.contains(&gone) => Ok(()),
        dials => Err(format!("{dials:?}")),
    });
    // The lease of the dead terminator lasts 10 s, and it is redialled for 10 s after that.
    let given_up = || if failing(dir.path()).is_empty() { Ok(()) } else { Err("is dialled".to_owned()) };
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(90);
    while given_up().is_err() {
        assert!(std::time::Instant::now() < patience, "{gone} is still dialled");
        std::thread::park_timeout(std::time::Duration::from_millis(100));
    }
    let tally = load.stop();
    assert_eq!((tally.of(200), tally.errors), (tally.total(), 0), "{tally:?}");
}

#[test]
fn losing_etcd_changes_nothing_and_newcomers_are_found_after_its_return() {
    let Some(mut etcd) = Etcd::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let first = terminator(&etcd);
    let _profile = profile(&etcd, dir.path());
    serves(&first);
    let load = Load::start(first.http, 2, u64::MAX, |_| "/profiles?limit=1".to_owned());
    etcd.process.take().unwrap().kill();
    load.wait_more(200);
    // It starts without etcd, and is found when etcd is there.
    let second = terminator(&etcd);
    assert_ne!(second.get("/profiles?limit=1").status, 200, "nobody can have found it");
    etcd.run();
    serves(&second);
    load.wait_more(200);
    let tally = load.stop();
    assert_eq!((tally.of(200), tally.errors), (tally.total(), 0), "{tally:?}");
}

#[test]
fn a_listener_that_leaves_is_withdrawn_at_once() {
    let Some(etcd) = Etcd::start() else { return };
    let mut first = terminator(&etcd);
    // Base64 of the prefix `/stack/buses/`, and of the first key after it.
    let question = br#"{"key":"L3N0YWNrL2J1c2VzLw==","range_end":"L3N0YWNrL2J1c2VzMA==","count_only":true}"#;
    let listed = || {
        let address = etcd.url().trim_start_matches("http://").parse().unwrap();
        let answer = crate::http::send(address, "POST", "/v3/kv/range", &[], question).json();
        answer["count"].as_str().map_or(0, |count: &str| count.parse::<u64>().unwrap())
    };
    until("it is listed", || if listed() == 1 { Ok(()) } else { Err(String::new()) });
    first.process.signal(rustix::process::Signal::TERM);
    assert_eq!(first.process.wait().code(), Some(0));
    assert_eq!(listed(), 0, "not after the 10 s of its lease, but at its end");
}

#[test]
fn a_role_that_joins_without_etcd_is_told_the_remedy() {
    let profile = ["--store", "embedded:/nowhere"];
    for (name, more) in [("terminator", &[][..]), ("web", &[][..]), ("profile", &profile[..])] {
        let mut process = Process::role(name, &[&["--bus-join", "front"][..], more].concat());
        assert_eq!(process.wait().code(), Some(2), "{name}");
        let said = process.lines().join("\n");
        assert!(said.contains("--bus-join front") && said.contains("give --etcd"), "{name}: {said}");
    }
}

#[test]
fn the_effective_settings_do_not_show_the_password_of_etcd() {
    let Some(etcd) = Etcd::start() else { return };
    let terminator = Terminator::start(&["--etcd", etcd.url(), "--etcd-user", "ada:secret"]);
    let config: Value = get(terminator.admin, "/config").json();
    let text = config.to_string();
    assert!(text.contains("etcd-user") && !text.contains("secret"), "{text}");
}
