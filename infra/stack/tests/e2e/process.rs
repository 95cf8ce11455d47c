//! Child processes: found, started, read line by line, signalled and always cleaned up.
//!
//! Invariant: a dropped `Process` has been killed and reaped, by its own pid.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};

use crate::until::until;

/// Lines of a child that are printed when a test fails.
const SHOWN: usize = 60;

/// A role's binary: beside the stack's own, or in `STACK_BIN_DIR`.
pub(crate) fn role(name: &str) -> PathBuf {
    let beside =
        || Path::new(env!("CARGO_BIN_EXE_stack")).parent().expect("a binary lies in a directory").to_owned();
    let path = std::env::var_os("STACK_BIN_DIR").map_or_else(beside, PathBuf::from).join(name);
    assert!(
        path.is_file(),
        "{} is missing: run `cargo build --workspace --bins` first, or set STACK_BIN_DIR",
        path.display()
    );
    path
}

/// A running child and what it has printed.
pub(crate) struct Process {
    name: String,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    readers: [JoinHandle<()>; 2],
}

impl Process {
    /// Starts a role's binary.
    pub(crate) fn role(name: &str, args: &[&str]) -> Self {
        Self::start(name, Command::new(role(name)).args(args))
    }

    /// Starts any command with both outputs read.
    pub(crate) fn start(name: &str, command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .env("NO_COLOR", "1")
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let lines = Arc::default();
        let readers = [
            gather(child.stdout.take().expect("piped above"), &lines),
            gather(child.stderr.take().expect("piped above"), &lines),
        ];
        Self { name: name.to_owned(), child, lines, readers }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything printed so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Waits for the first line for which `pick` returns a value.
    pub(crate) fn wait_line<T>(&mut self, what: &str, mut pick: impl FnMut(&str) -> Option<T>) -> T {
        until(&format!("{}: {what}", self.name), || {
            // Read before the lines, so that a child's last line is seen when both readers have
            // ended.
            let ended = self.readers.iter().all(JoinHandle::is_finished);
            if let Some(found) = self.lines().iter().find_map(|line| pick(line)) {
                return Ok(found);
            }
            assert!(!ended, "{} ended before it said: {what}\n{}", self.name, self.lines().join("\n"));
            Err(format!("{} lines, the last: {:?}", self.lines().len(), self.lines().last()))
        })
    }

    /// Sends a signal to this process alone.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.rustix_pid(), signal).unwrap();
    }

    /// Sends SIGKILL, and waits for the end.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for the end, and for the last line.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        until(&format!("{} ends", self.name), || {
            let status =
                self.child.try_wait().unwrap().filter(|_| self.readers.iter().all(JoinHandle::is_finished));
            status.ok_or_else(|| format!("{:?}", self.lines().last()))
        })
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Resident memory in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a live process has VmRSS");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("VmRSS: N kB")
    }

    fn rustix_pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.pid()).expect("pids are below 2^22"))
            .expect("a child's pid is not 0")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let lines = self.lines();
            eprintln!("--- {} (pid {}), its last lines:", self.name, self.child.id());
            for line in lines.iter().skip(lines.len().saturating_sub(SHOWN)) {
                eprintln!("    {line}");
            }
        }
    }
}

/// Reads to the end on a thread of its own, so that no child blocks on a full pipe.
fn gather(from: impl Read + Send + 'static, into: &Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    let into = Arc::clone(into);
    std::thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            into.lock().unwrap().push(String::from_utf8_lossy(&line).into_owned());
        }
    })
}
