//! One process of a role: started, followed, waited for, stopped.
//!
//! Owns the process and the tasks that follow its output. Leaves the decision when it starts and
//! stops to `supervise`. Invariant: a dropped process is killed.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;
use tokio::task::JoinSet;

use crate::binary::Binary;
use crate::error::Error;
use crate::log::Log;
use crate::plan::Role;
use crate::tied::Launcher;

/// Time for a role's last output to arrive through its pipe.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A running process.
pub(crate) struct Process<'a> {
    role: &'a Role,
    child: Child,
    output: JoinSet<()>,
}

impl<'a> Process<'a> {
    /// Starts `binary` with the arguments of `role`, and its settings as they are now.
    pub(crate) fn start(
        role: &'a Role,
        binary: &Binary,
        launcher: &Launcher,
        log: &Log,
    ) -> Result<Self, Error> {
        let settings = role.settings.as_ref().filter(|file| file.exists());
        let settings = settings.map(|file| ["--config".into(), file.clone().into()]);
        let args: Vec<_> = role.args.iter().cloned().chain(settings.into_iter().flatten()).collect();
        let mut child = launcher
            .command(&binary.program(), &args)
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

    /// Its id; `None` once it was waited for.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until the process has ended and its last output is logged.
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    pub(crate) async fn ended(&mut self) -> Result<ExitStatus, Error> {
        let status = self.child.wait().await;
        let rest = async { while self.output.join_next().await.is_some() {} };
        // A process that the role started may hold its output open.
        let _ = tokio::time::timeout(LAST_WORDS, rest).await;
        status.map_err(|source| Error::Start { program: self.role.program.clone(), source })
    }

    /// Sends SIGTERM, and SIGKILL after `grace` or when `hurry` completes.
    pub(crate) async fn stop(
        mut self,
        log: &Log,
        hurry: impl Future<Output = ()>,
        grace: Duration,
    ) -> Result<(), Error> {
        self.terminate();
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
            () = hurry => "was not waited for".to_owned(),
        };
        log.line("stack", &format!("{name} {why_killed}: killed"));
        self.kill().await
    }

    /// Sends SIGKILL and waits for the end.
    pub(crate) async fn kill(mut self) -> Result<(), Error> {
        // Fails when the process ended at this moment.
        let _ = self.child.start_kill();
        self.ended().await.map(drop)
    }

    fn terminate(&self) {
        // Without an id the process has ended, and waiting for it returns at once.
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // Fails only when the process has ended. It was not waited for, so no other process has
            // its id.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

/// `exit code 1`, `signal 9`.
pub(crate) fn why(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// A duration without its fractions of a millisecond.
pub(crate) fn ms(duration: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
}
