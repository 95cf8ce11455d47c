//! The binary under test, started on ports that the system chooses.
//!
//! Owns the process, its directory and its log. Leaves HTTP to `client` and the bus to `service`.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::Instant;

use bus::Envelope;
use tempfile::TempDir;

use crate::PATIENCE;
use crate::client::Client;
use crate::service::Service;

/// A running terminator. Dropping it kills the process.
pub(crate) struct Terminator {
    child: Child,
    log: BufReader<ChildStderr>,
    pub(crate) dir: TempDir,
    pub(crate) http: Vec<String>,
    pub(crate) admin: SocketAddr,
}

/// Responses of all statuses in `/stats`, or in one worker's share of it.
pub(crate) fn responses(stats: &serde_json::Value) -> u64 {
    let classes = stats["responses"].as_object().expect("an object by class");
    classes.values().filter_map(serde_json::Value::as_u64).sum()
}

/// The command `terminator` with these flags and an empty environment.
pub(crate) fn command(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_terminator"));
    command.args(flags).env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Runs to its end: exit code and what it said.
pub(crate) fn run(flags: &[&str]) -> (Option<i32>, String) {
    let mut child = command(flags).spawn().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (child.wait().unwrap().code(), said)
}

impl Terminator {
    /// Starts a terminator that listens for services at `DIR/bus.sock`.
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), flags)
    }

    /// Starts a terminator with a limit of `files` open files.
    pub(crate) fn start_limited(files: u32, flags: &[&str]) -> Self {
        Self::start_by(tempfile::tempdir().unwrap(), flags, |all| {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", &format!("ulimit -n {files}; exec \"$0\" \"$@\"")]);
            command.arg(env!("CARGO_BIN_EXE_terminator")).args(all);
            command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
            command
        })
    }

    pub(crate) fn start_in(dir: TempDir, flags: &[&str]) -> Self {
        Self::start_by(dir, flags, command)
    }

    fn start_by(dir: TempDir, flags: &[&str], command: impl Fn(&[&str]) -> Command) -> Self {
        let bus = format!("ipc://{}", dir.path().join("bus.sock").display());
        let mut all = vec!["--admin", "127.0.0.1:0", "--bus-listen", &bus];
        if !flags.contains(&"--settle") {
            all.extend(["--settle", "0s"]);
        }
        if !flags.contains(&"--http") {
            all.extend(["--http", "127.0.0.1:0"]);
        }
        all.extend(flags);
        Self::spawn(dir, command(&all))
    }

    /// Starts one with these flags and no others but `--settle 0s`.
    pub(crate) fn start_at(flags: &[&str]) -> Self {
        Self::spawn(tempfile::tempdir().unwrap(), command(&[&["--settle", "0s"], flags].concat()))
    }

    /// Starts `command` and waits until it says where it listens.
    pub(crate) fn spawn(dir: TempDir, mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut before = String::new();
        let line = loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "it ended before it listened:\n{before}");
            if line.contains("listening http=") {
                break line;
            }
            before.push_str(&line);
        };
        let value = |name: &str| {
            let word = line.split_whitespace().find_map(|word| word.strip_prefix(name));
            word.unwrap_or_else(|| panic!("no {name} in {line}")).to_owned()
        };
        let http = value("http=").split(',').map(str::to_owned).collect();
        let admin = value("admin=").parse().unwrap();
        Self { child, log, dir, http, admin }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn bus(&self) -> PathBuf {
        self.dir.path().join("bus.sock")
    }

    /// Connects a client to the first HTTP listener.
    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.http[0])
    }

    /// Connects a service that claims `routes`; returns once the terminator lists them.
    pub(crate) fn service(&self, routes: &[&str]) -> Service {
        let service = Service::connect(&self.bus(), "s", routes, 0);
        self.until("/routes", |listed| {
            routes.iter().all(|route| {
                let find =
                    |listed: &serde_json::Value| listed["pattern"] == *route && listed["instances"] != 0;
                listed.as_array().unwrap().iter().any(find)
            })
        });
        service
    }

    pub(crate) fn ask(&self, path: &str) -> serde_json::Value {
        let answer = Client::connect(&self.admin.to_string()).get(path);
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// Asks the admin listener until `done` accepts the answer, which is returned.
    pub(crate) fn until(&self, path: &str, done: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let begun = Instant::now();
        loop {
            let said = self.ask(path);
            if done(&said) {
                return said;
            }
            assert!(begun.elapsed() < PATIENCE, "{path} still says {said:#}");
            std::thread::yield_now();
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        self.signals(&[name]);
    }

    /// Sends several signals, one directly after the other.
    pub(crate) fn signals(&self, names: &[&str]) {
        let id = self.child.id();
        let script: String = names.iter().map(|name| format!("kill -s {name} {id};")).collect();
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for a line of the log that contains `what`.
    pub(crate) fn until_logged(&mut self, what: &str) {
        let mut line = String::new();
        while self.log.read_line(&mut line).unwrap() > 0 {
            if line.contains(what) {
                return;
            }
            line.clear();
        }
        panic!("it ended and never said {what:?}");
    }

    /// Replies to the request that a drain waits for, then checks that the client is answered, its
    /// connection is closed, and the terminator exits with 0.
    pub(crate) fn ends_with(&mut self, service: &mut Service, request: &Envelope, client: &mut Client) {
        service.reply(request, 200, &[], b"finished");
        let answer = client.answer();
        assert_eq!((answer.text(), answer.header("connection")), ("finished", Some("close")));
        assert!(client.is_closed());
        let (status, log) = self.end_of();
        assert_eq!(status.code(), Some(0), "{log}");
    }

    /// Waits for the process to exit; returns its status and the rest of the log.
    pub(crate) fn end_of(&mut self) -> (ExitStatus, String) {
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap(), rest)
    }
}

impl Drop for Terminator {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
