//! Replacing the process of a role by one of the binary that is on disk now.
//!
//! Owns the order: start the new process, which asks the old one for its sockets by the path of
//! `--handover`; wait until the old one has drained; wait until the new one says that it is ready.
//! Leaves the handover to the roles (docs/restarts.md). Invariant: of a replacement that fails no
//! new process is left.

use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use crate::binary::Binary;
use crate::log::Log;
use crate::order::Order;
use crate::plan::Role;
use crate::probe;
use crate::process::{Process, ms, why};
use crate::tied::Launcher;

/// Pause between two looks whether the new process is ready.
const READY_EVERY: Duration = Duration::from_millis(10);
/// How long the old process is watched after a failure, to tell whether it serves on.
const WATCHED: Duration = Duration::from_secs(5);

/// A request to replace the process of a role.
#[derive(Debug)]
pub struct Upgrade {
    /// The time for it.
    pub within: Duration,
    /// Gets the outcome.
    pub outcome: oneshot::Sender<Result<Done, Failure>>,
}

/// A role that was replaced.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// The process before.
    pub old: u32,
    /// The process now.
    pub new: u32,
    /// From the start of the new process until it was ready.
    pub took: Duration,
}

/// A role that was not replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the new process did instead of serving.
    pub reason: String,
    /// What remains running.
    pub remains: String,
}

impl Upgrade {
    /// Answers it. A client that has gone is no error.
    pub(crate) fn answer(self, outcome: Result<Done, Failure>) {
        let _ = self.outcome.send(outcome);
    }
}

/// The new process.
pub(crate) struct Replacement<'a> {
    pub(crate) process: Process<'a>,
    pub(crate) binary: Binary,
    pub(crate) done: Done,
}

/// Replaces `old`, which has ended when this returns a replacement.
pub(crate) async fn replace<'a>(
    role: &'a Role,
    launcher: &Launcher,
    log: &Log,
    old: &mut Process<'_>,
    state: &mut watch::Receiver<Order>,
    within: Duration,
) -> Result<Replacement<'a>, Failure> {
    let started = Instant::now();
    let before = old.id().unwrap_or(0);
    let serves_on = || format!("the old process (pid {before}) serves on");
    let unstarted = |reason: String| Failure { reason, remains: serves_on() };
    let binary = Binary::open(&role.program)
        .map_err(|error| unstarted(format!("{}: {error}", role.program.display())))?;
    let mut new =
        Process::start(role, &binary, launcher, log).map_err(|error| unstarted(error.to_string()))?;
    let id = new.id().unwrap_or(0);
    log.line("stack", &format!("{} is replaced: pid {before} by pid {id}", role.name));
    let serving = async {
        // The old process ends only after the new one has taken over, or by itself.
        tokio::select! {
            ended = new.ended() => return Err(ended_early(ended)),
            _ = old.ended() => {}
        }
        tokio::select! {
            ended = new.ended() => Err(ended_early(ended)),
            () = ready(role) => Ok(()),
        }
    };
    let outcome = tokio::select! {
        outcome = serving => outcome,
        () = tokio::time::sleep(within) => Err(format!("the new process was not ready within {}", ms(within))),
        _ = state.changed() => Err("the stack stops".to_owned()),
    };
    match outcome {
        Ok(()) => {
            let done = Done { old: before, new: id, took: started.elapsed() };
            Ok(Replacement { process: new, binary, done })
        }
        Err(reason) => {
            // It may have requests when it was told to stop.
            let _ = new.stop(log, std::future::pending(), WATCHED).await;
            let remains = tokio::select! {
                biased;
                _ = old.ended() => "the old process had ended; its binary is started again".to_owned(),
                () = ready(role) => serves_on(),
                () = tokio::time::sleep(WATCHED) => format!("{}, but it is not ready", serves_on()),
            };
            log.line("stack", &format!("{} is not replaced: {reason}; {remains}", role.name));
            Err(Failure { reason, remains })
        }
    }
}

fn ended_early(ended: Result<std::process::ExitStatus, crate::error::Error>) -> String {
    match ended {
        Ok(status) => format!("the new process ended ({}); the reason is in the stack's output", why(status)),
        Err(error) => error.to_string(),
    }
}

/// Waits until the role's admin listener says that it is ready. A role whose admin listener is set
/// by its own variable is not asked.
async fn ready(role: &Role) {
    let Some(admin) = &role.admin else { return };
    while probe::status(admin, "/ready").await != Ok(200) {
        tokio::time::sleep(READY_EVERY).await;
    }
}
