//! A role's life, with small real processes in the roles' place.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use stack::error::Error;
use stack::log::Log;
use stack::order::Order;
use stack::plan::Role;
use stack::probe::Server;
use stack::replace::{Done, Failure, Upgrade};
use stack::supervise::{Orders, keep};
use stack::tied::Launcher;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// Only a failing test waits this long.
const DEADLINE: Duration = Duration::from_secs(20);
/// Longer than any test: a role that stops in time never reaches it.
const GRACE: Duration = Duration::from_secs(60);

struct Kept {
    orders: watch::Sender<Order>,
    upgrades: mpsc::Sender<Upgrade>,
    lines: mpsc::Receiver<String>,
    task: JoinHandle<Result<(), Error>>,
}

impl Kept {
    fn start(script: &str, grace: Duration) -> Self {
        Self::with_admin(script, grace, None)
    }

    /// A role that is ready when its admin listener says so; without one, as soon as it runs.
    fn with_admin(script: &str, grace: Duration, admin: Option<Server>) -> Self {
        let args = vec!["-c".into(), script.into()];
        let role = Role { name: "role", program: "/bin/sh".into(), args, settings: None, admin };
        let (log, lines) = Log::new();
        let (orders, state) = watch::channel(Order::Run);
        let (upgrades, receiver) = mpsc::channel(1);
        let told = Orders { state, upgrades: receiver };
        let launcher = Launcher::through(Path::new(env!("CARGO_BIN_EXE_stack")));
        let task = tokio::task::spawn_local(async move { keep(&role, &launcher, &log, told, grace).await });
        Self { orders, upgrades, lines, task }
    }

    /// The first line that contains `part`.
    async fn line(&mut self, part: &str) -> String {
        let found = async {
            loop {
                let line = self.lines.recv().await.expect("the role has ended");
                if line.contains(part) {
                    return line;
                }
            }
        };
        tokio::time::timeout(DEADLINE, found).await.unwrap_or_else(|_| panic!("no line with {part:?}"))
    }

    /// The process id that the script printed as `up PID`.
    async fn pid(&mut self) -> Pid {
        let line = self.line("up ").await;
        pid_of(line.rsplit(' ').next().expect("has a last word"))
    }

    async fn upgrade(&self, within: Duration) -> Result<Done, Failure> {
        let (outcome, answer) = oneshot::channel();
        self.upgrades.send(Upgrade { within, outcome }).await.expect("the role is kept");
        tokio::time::timeout(DEADLINE, answer).await.expect("ends in time").expect("is answered")
    }

    async fn end(self) -> Result<(), Error> {
        tokio::time::timeout(DEADLINE, self.task).await.expect("ends in time").expect("does not panic")
    }
}

fn pid_of(text: &str) -> Pid {
    text.trim().parse().ok().and_then(Pid::from_raw).unwrap_or_else(|| panic!("not a process id: {text}"))
}

fn local(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
    runtime.expect("starts").block_on(test);
}

#[test]
fn killed_role_starts_again() {
    local(async {
        let mut kept = Kept::start("echo up $$; exec sleep 1000", GRACE);
        let first = kept.pid().await;
        kill_process(first, Signal::KILL).expect("it runs");
        let ended = kept.line("starts again").await;
        assert!(ended.contains("role ended (signal 9)"), "{ended}");
        let second = kept.pid().await;
        assert_ne!(first, second);
        kept.orders.send_replace(Order::Stop);
        kept.end().await.expect("was asked to");
        assert!(test_kill_process(second).is_err(), "nothing runs any more");
    });
}

#[test]
fn role_gets_sigterm_and_its_last_words_are_logged() {
    local(async {
        let mut kept = Kept::start(
            "trap 'echo drained >&2; exit 0' TERM; echo up $$; while :; do sleep 0.01; done",
            GRACE,
        );
        kept.pid().await;
        kept.orders.send_replace(Order::Stop);
        assert_eq!(kept.line("drained").await, "      role | drained");
        kept.end().await.expect("was asked to");
    });
}

#[test]
fn role_that_ignores_sigterm_is_killed_after_the_grace() {
    local(async {
        let mut kept =
            Kept::start("trap '' TERM; echo up $$; while :; do sleep 0.01; done", Duration::from_millis(50));
        let pid = kept.pid().await;
        kept.orders.send_replace(Order::Stop);
        let line = kept.line("killed").await;
        assert!(line.contains("did not stop within 50ms"), "{line}");
        kept.end().await.expect("was asked to");
        assert!(test_kill_process(pid).is_err(), "nothing runs any more");
    });
}

#[test]
fn second_request_to_stop_kills_at_once() {
    local(async {
        let mut kept = Kept::start("trap '' TERM; echo up $$; while :; do sleep 0.01; done", GRACE);
        kept.pid().await;
        kept.orders.send_replace(Order::Stop);
        kept.orders.send_replace(Order::Kill);
        kept.end().await.expect("was asked to");
    });
}

/// A role whose second process does `then` with the id of the first in `$old`.
fn replaced_by(dir: &Path, then: &str) -> String {
    let file = dir.join("pid").display().to_string();
    format!(
        "old=$(cat {file} 2>/dev/null); echo $$ > {file}; echo up $$; if [ \"$old\" ]; then {then}; fi; exec sleep 1000"
    )
}

#[test]
fn new_process_that_takes_over_replaces_the_old_one() {
    local(async {
        let dir = tempfile::tempdir().expect("a directory");
        let mut kept = Kept::start(&replaced_by(dir.path(), "kill $old"), GRACE);
        let old = kept.pid().await;
        let done = kept.upgrade(DEADLINE).await.expect("is replaced");
        let new = pid_of(&done.new.to_string());
        assert_eq!((pid_of(&done.old.to_string()), test_kill_process(old).is_err()), (old, true));
        test_kill_process(new).expect("the new one runs");
        kept.orders.send_replace(Order::Stop);
        kept.end().await.expect("was asked to");
        assert!(test_kill_process(new).is_err(), "nothing runs any more");
    });
}

#[test]
fn new_process_that_ends_changes_nothing() {
    local(async {
        let dir = tempfile::tempdir().expect("a directory");
        let mut kept = Kept::start(&replaced_by(dir.path(), "exit 7"), GRACE);
        let old = kept.pid().await;
        let failure = kept.upgrade(DEADLINE).await.expect_err("ended");
        assert!(failure.reason.contains("exit code 7"), "{failure:?}");
        assert!(failure.remains.contains("serves on"), "{failure:?}");
        test_kill_process(old).expect("the old one runs");
    });
}

#[test]
fn new_process_that_is_not_ready_in_time_is_ended() {
    local(async {
        let dir = tempfile::tempdir().expect("a directory");
        let mut kept = Kept::start(&replaced_by(dir.path(), "true"), GRACE);
        let old = kept.pid().await;
        let failure = kept.upgrade(Duration::from_millis(300)).await.expect_err("does nothing");
        let new = kept.pid().await;
        assert!(failure.reason.contains("not ready within 300ms"), "{failure:?}");
        test_kill_process(old).expect("the old one runs");
        assert!(test_kill_process(new).is_err(), "the new one is gone");
    });
}

#[test]
fn new_process_that_fails_after_the_old_one_has_gone_leaves_the_role_running() {
    local(async {
        let dir = tempfile::tempdir().expect("a directory");
        let script = replaced_by(dir.path(), &format!("rm {}/pid; kill $old; exit 1", dir.path().display()));
        let never_ready = Server::Unix(dir.path().join("admin.sock"));
        let mut kept = Kept::with_admin(&script, GRACE, Some(never_ready));
        let old = kept.pid().await;
        kept.upgrade(DEADLINE).await.expect_err("fails");
        let failed = kept.pid().await;
        let again = kept.pid().await;
        assert!(old != failed && failed != again);
        test_kill_process(again).expect("it runs");
    });
}

#[test]
fn role_that_is_stopped_while_it_is_replaced_leaves_nothing() {
    local(async {
        let dir = tempfile::tempdir().expect("a directory");
        let mut kept = Kept::start(&replaced_by(dir.path(), "true"), GRACE);
        let old = kept.pid().await;
        let (outcome, answer) = oneshot::channel();
        kept.upgrades.send(Upgrade { within: DEADLINE, outcome }).await.expect("the role is kept");
        let new = kept.pid().await;
        kept.orders.send_replace(Order::Stop);
        let failure = answer.await.expect("is answered").expect_err("was stopped");
        assert!(failure.reason.contains("stops"), "{failure:?}");
        kept.end().await.expect("was asked to");
        assert!(test_kill_process(old).is_err() && test_kill_process(new).is_err(), "nothing runs any more");
    });
}

#[test]
fn usage_error_is_not_started_again() {
    local(async {
        let mut kept = Kept::start("echo 'error: no such flag' >&2; exit 2", GRACE);
        kept.line("role | error: no such flag").await;
        let error = kept.end().await.expect_err("refused");
        assert!(matches!(error, Error::Refused { role: "role" }), "{error}");
    });
}

#[test]
fn role_that_fails_again_and_again_can_be_stopped() {
    local(async {
        let mut kept = Kept::start("exit 1", GRACE);
        for _ in 0..3 {
            kept.line("role ended (exit code 1); starts again").await;
        }
        kept.orders.send_replace(Order::Stop);
        kept.end().await.expect("was asked to");
    });
}

#[cfg(target_os = "linux")]
#[test]
fn killed_stack_takes_its_roles_along() {
    // A shell in the stack's place starts a tied process, then is killed with SIGKILL.
    let script = r#""$0" tied --parent $$ -- /bin/sh -c 'echo up $$; exec sleep 1000' & wait"#;
    let mut parent = std::process::Command::new("/bin/sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_stack")])
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut output = BufReader::new(parent.stdout.take().expect("is piped"));
    let mut line = String::new();
    output.read_line(&mut line).expect("reads");
    let child = pid_of(line.trim_start_matches("up "));
    test_kill_process(child).expect("it runs");
    parent.kill().expect("it runs");
    parent.wait().expect("waits");
    // The child holds the pipe's other end, which closes only when the child is gone.
    line.clear();
    assert_eq!(output.read_line(&mut line).expect("reads"), 0, "{line}");
}

#[cfg(target_os = "linux")]
#[test]
fn orphan_of_a_stack_that_is_gone_does_not_start() {
    // Process 1 is not this test, so the named parent does not exist.
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_stack"))
        .args(["tied", "--parent", "1", "--", "/bin/echo", "started"])
        .output()
        .expect("runs");
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
}

#[test]
fn port_in_use_ends_the_stack_with_its_reason() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = listener.local_addr().expect("is bound").to_string();
    let data: PathBuf = tempfile::tempdir().expect("a directory").path().join("data");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_stack"))
        .args(["--no-build", "--http", &address, "--data"])
        .arg(&data)
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains(&format!("--http {address}")) && said.contains("in use"), "{said}");
    assert!(!data.exists(), "nothing was touched");
}
