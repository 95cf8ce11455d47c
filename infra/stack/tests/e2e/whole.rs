//! The binary that starts everything: what it prints is true, it restarts what dies, and it leaves
//! no process behind.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use crate::http::{get, send};
use crate::process::{Process, role};
use crate::until::until;
use crate::wire::{HELLO, Message, Pipe};

/// A running stack with its own ports.
pub(crate) struct Stack {
    pub(crate) process: Process,
    pub(crate) http: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) guests: SocketAddr,
}

impl Stack {
    pub(crate) fn start(data: &Path) -> Self {
        Self::start_with(data, &[])
    }

    pub(crate) fn start_with(data: &Path, flags: &[&str]) -> Self {
        Self::start_from(&role("stack"), data, flags)
    }

    /// Starts the binary `stack`, which takes the roles' beside it.
    pub(crate) fn start_from(stack: &Path, data: &Path, flags: &[&str]) -> Self {
        // Bound together, so that all differ; free again when the stack binds them.
        let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [http, admin, guests] = listeners.map(|listener| listener.local_addr().unwrap());
        let text = [http, admin, guests].map(|address| address.to_string());
        let mut command = std::process::Command::new(stack);
        command
            .args(["--no-build", "--http", &text[0], "--admin", &text[1], "--guests", &text[2], "--data"])
            .arg(data)
            .args(flags);
        let mut process = Process::start("stack", &mut command);
        process.wait_line("that it is ready", |line| line.contains("curl -i http://").then_some(()));
        Self { process, http, admin, guests }
    }

    /// Its children by name, according to the system.
    pub(crate) fn children(&self) -> Vec<(String, u32)> {
        let parent = self.process.pid();
        let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        // PID (NAME) STATE PPID ...; the name may contain anything.
        pids.filter_map(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
            let (state, rest) = rest.split_once(' ')?;
            let child = rest.split(' ').next()?.parse() == Ok(parent) && state != "Z";
            child.then(|| (name.to_owned(), pid))
        })
        .collect()
    }

    pub(crate) fn child(&self, name: &str) -> Option<u32> {
        self.children().into_iter().find(|(known, _)| known == name).map(|(_, pid)| pid)
    }
}

pub(crate) fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

#[test]
fn the_stack_serves_brings_back_what_dies_and_leaves_nothing_behind() {
    let data = tempfile::tempdir().unwrap();
    let mut stack = Stack::start(data.path());

    let member = get(stack.http, "/members/1");
    assert_eq!(member.status, 200, "{member:?}");
    assert!(member.header("content-type").unwrap().starts_with("application/json"));
    let html = send(stack.http, "GET", "/members/1", &[("accept", "text/html")], b"");
    assert!(html.header("content-type").unwrap().starts_with("text/html"), "{html:?}");
    assert_eq!(get(stack.admin, "/ready").status, 200);

    let before = stack.child("profile").expect("profile is a child");
    let terminator = stack.child("terminator");
    signal(before, Signal::KILL);
    let after = until("profile is started again", || match stack.child("profile") {
        Some(pid) if pid != before => Ok(pid),
        seen => Err(format!("{seen:?}")),
    });
    until("members are served again", || match get(stack.http, "/members/1").status {
        200 => Ok(()),
        503 => Err("503".to_owned()),
        other => panic!("{other} while profile is away: only 200 and 503 are right"),
    });
    assert_ne!(before, after);
    assert_eq!(stack.child("terminator"), terminator, "nobody touched the terminator");

    let children = stack.children();
    assert_eq!(children.len(), 6, "{children:?}");
    stack.process.signal(Signal::INT);
    let status = stack.process.wait();
    assert_eq!(status.code(), Some(0), "{:?}", stack.process.lines());
    for (name, pid) in children {
        let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        assert_ne!(comm.trim(), name, "{name} (pid {pid}) still runs");
    }
}

#[test]
fn a_guest_cannot_claim_the_paths_of_the_stacks_services() {
    let data = tempfile::tempdir().unwrap();
    let stack = Stack::start(data.path());
    let paths: Vec<String> =
        get(stack.admin, "/routes").json().as_array().unwrap().iter().map(pattern).collect();
    assert!(paths.len() > 20, "{paths:?}");

    let mut guest = Pipe::open(&format!("tcp://{}", stack.guests)).unwrap();
    let exact = paths.iter().map(|path| ("route", path.as_str()));
    let literal =
        [("route", "GET /profiles/1"), ("route", "* /members/{*rest}"), ("route", "GET /mine/{id}")];
    let fields = [("service", "profile"), ("instance", "rogue"), ("weight", "1000")].into_iter();
    let hello: Vec<_> = fields.chain(exact).chain(literal).collect();
    guest.send(&Message::new(HELLO, &hello).pack()).unwrap();

    let claimed = until("the guest's own path is claimed", || {
        let routes = get(stack.admin, "/routes").json();
        let of_guest = |path: &str| routes.as_array().unwrap().iter().any(|route| pattern(route) == path);
        if of_guest("GET /mine/{id}") { Ok(routes) } else { Err(routes.to_string()) }
    });
    let claimed: Vec<String> = claimed.as_array().unwrap().iter().map(pattern).collect();
    let new: Vec<_> = claimed.iter().filter(|path| !paths.contains(path)).collect();
    assert_eq!(new, ["GET /mine/{id}"]);
    let peers = get(stack.admin, "/peers").json();
    let rogue = peers.as_array().unwrap().iter().find(|peer| peer["instance"] == "rogue").unwrap();
    assert_eq!(rogue["routes"], serde_json::json!(["GET /mine/{id}"]), "{rogue}");
    for _ in 0..20 {
        assert_eq!(get(stack.http, "/profiles/1").status, 200, "answered by the stack's own profile");
    }
}

/// `GET /profiles/{id}`, of a row of `/routes`.
fn pattern(route: &serde_json::Value) -> String {
    route["pattern"].as_str().unwrap().to_owned()
}

#[test]
fn children_do_not_outlive_a_stack_that_was_killed() {
    let data = tempfile::tempdir().unwrap();
    let mut stack = Stack::start(data.path());
    let children = stack.children();
    assert_eq!(children.len(), 6, "{children:?}");
    stack.process.kill();
    for (name, pid) in children {
        until(&format!("{name} ends"), || {
            let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            if comm.trim() == name { Err(format!("pid {pid} runs")) } else { Ok(()) }
        });
    }
}

#[test]
fn a_second_stack_on_the_same_port_is_told_which_flag_to_change() {
    let data = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let http = taken.local_addr().unwrap().to_string();
    let mut command = std::process::Command::new(role("stack"));
    command.args(["--no-build", "--http", &http, "--data"]).arg(data.path());
    let mut second = Process::start("stack", &mut command);
    assert_eq!(second.wait().code(), Some(1));
    second.wait_line("the flag", |line| (line.contains("--http") && line.contains(&http)).then_some(()));
}
