//! Keeping one role running: start, follow its output, restart, stop.
//!
//! Owns the life of a role's process. `run` decides the order among roles, `plan` their arguments.
//! Invariant: a role has at most one process, and none once [`keep`] has returned.

use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::backoff::Backoff;
use crate::error::Error;
use crate::log::Log;
use crate::plan::Role;
use crate::tied::Launcher;

/// The exit code of a role that refuses its arguments; a restart would not help.
const USAGE: i32 = 2;

/// Time for a role's last output to arrive through its pipe.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The state that a role should be in; it only moves downwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// Run, and restart when it ends.
    Run,
    /// Stop: SIGTERM, and SIGKILL after the deadline.
    Stop,
    /// Stop at once: SIGKILL.
    Kill,
}

/// Keeps `role` running until `orders` change; then stops it, in `grace` at most.
///
/// # Errors
/// The program cannot be started, or refused its arguments (exit code 2). No process is left then
/// either.
pub async fn keep(
    role: &Role,
    launcher: &Launcher,
    log: &Log,
    mut orders: watch::Receiver<Order>,
    grace: Duration,
) -> Result<(), Error> {
    let mut backoff = Backoff::default();
    let mut rng = fastrand::Rng::new();
    while *orders.borrow_and_update() == Order::Run {
        let mut process = Process::start(role, launcher, log)?;
        let started = Instant::now();
        let status = tokio::select! {
            status = process.ended() => status?,
            _ = orders.changed() => return process.stop(log, &mut orders, grace).await,
        };
        if status.code() == Some(USAGE) {
            return Err(Error::Refused { role: role.name });
        }
        let delay = backoff.after(started.elapsed(), &mut rng);
        log.line("stack", &format!("{} ended ({}); starts again in {}", role.name, why(status), ms(delay)));
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            _ = orders.changed() => {}
        }
    }
    Ok(())
}

/// A running role and the tasks that follow its output.
struct Process<'a> {
    role: &'a Role,
    child: Child,
    output: JoinSet<()>,
}

impl<'a> Process<'a> {
    fn start(role: &'a Role, launcher: &Launcher, log: &Log) -> Result<Self, Error> {
        let mut child = launcher
            .command(&role.program, &role.args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| Error::Start { program: role.program.clone(), source })?;
        let mut output = JoinSet::new();
        output.spawn_local(log.clone().follow(role.name, child.stdout.take().expect("is piped")));
        output.spawn_local(log.clone().follow(role.name, child.stderr.take().expect("is piped")));
        Ok(Self { role, child, output })
    }

    /// Waits until the process has ended and its last output is logged.
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    async fn ended(&mut self) -> Result<ExitStatus, Error> {
        let status = self.child.wait().await;
        let rest = async { while self.output.join_next().await.is_some() {} };
        // A process that the role started may hold its output open.
        let _ = tokio::time::timeout(LAST_WORDS, rest).await;
        status.map_err(|source| Error::Start { program: self.role.program.clone(), source })
    }

    /// Sends SIGTERM, and SIGKILL after `grace` or on [`Order::Kill`].
    async fn stop(
        mut self,
        log: &Log,
        orders: &mut watch::Receiver<Order>,
        grace: Duration,
    ) -> Result<(), Error> {
        terminate(&self.child);
        let name = self.role.name;
        let why_killed = tokio::select! {
            status = self.ended() => {
                let status = status?;
                if !status.success() {
                    log.line("stack", &format!("{name} ended ({})", why(status)));
                }
                return Ok(());
            }
            () = tokio::time::sleep(grace) => format!("did not stop within {}", ms(grace)),
            _ = orders.wait_for(|order| *order == Order::Kill) => "was not waited for".to_owned(),
        };
        log.line("stack", &format!("{name} {why_killed}: killed"));
        // Fails when the process ended at this moment.
        let _ = self.child.start_kill();
        self.ended().await.map(drop)
    }
}

fn terminate(child: &Child) {
    // Without an id the process has ended, and waiting for it returns at once.
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // Fails only when the process has ended. It was not waited for, so no other process has its
        // id.
        let _ = kill_process(pid, Signal::TERM);
    }
}

/// `exit code 1`, `signal 9`.
fn why(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

fn ms(duration: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
}
