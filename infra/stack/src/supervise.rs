//! Keeping one role running: start, restart, replace, stop.
//!
//! Owns the life of a role. Leaves one process to `process`, replacing it to `replace`, and the
//! order among roles to `run`. Invariant: a role has one process, two while it is replaced, and
//! none once [`keep`] has returned.

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use crate::backoff::Backoff;
use crate::binary::Binary;
use crate::error::Error;
use crate::log::Log;
use crate::order::Order;
use crate::plan::Role;
use crate::process::{Process, ms, why};
use crate::replace::{Failure, Replacement, Upgrade, replace};
use crate::tied::Launcher;

/// The exit code of a role that refuses its arguments; a restart would not help.
const USAGE: i32 = 2;

/// What a role is told.
#[derive(Debug)]
pub struct Orders {
    /// The state that it should be in.
    pub state: watch::Receiver<Order>,
    /// Requests to replace its process.
    pub upgrades: mpsc::Receiver<Upgrade>,
}

/// Keeps `role` running until it is told to stop; then stops it, in `grace` at most.
///
/// # Errors
/// The program cannot be started, or refused its arguments (exit code 2). No process is left then
/// either.
pub async fn keep(
    role: &Role,
    launcher: &Launcher,
    log: &Log,
    mut orders: Orders,
    grace: Duration,
) -> Result<(), Error> {
    let open = || {
        Binary::open(&role.program).map_err(|source| Error::Start { program: role.program.clone(), source })
    };
    let mut binary = open()?;
    let mut backoff = Backoff::default();
    let mut rng = fastrand::Rng::new();
    while *orders.state.borrow_and_update() == Order::Run {
        let mut process = Process::start(role, &binary, launcher, log)?;
        let mut started = Instant::now();
        let status = loop {
            let upgrade = tokio::select! {
                status = process.ended() => break status?,
                _ = orders.state.changed() => return stop(process, log, &mut orders, grace).await,
                Some(upgrade) = orders.upgrades.recv() => upgrade,
            };
            let within = upgrade.within;
            match replace(role, launcher, log, &mut process, &mut orders.state, within).await {
                Ok(Replacement { process: new, binary: now, done }) => {
                    (process, binary, started) = (new, now, Instant::now());
                    upgrade.answer(Ok(done));
                }
                Err(failure) => upgrade.answer(Err(failure)),
            }
            if *orders.state.borrow() != Order::Run {
                return stop(process, log, &mut orders, grace).await;
            }
        };
        if status.code() == Some(USAGE) {
            return Err(Error::Refused { role: role.name });
        }
        let delay = backoff.after(started.elapsed(), &mut rng);
        log.line("stack", &format!("{} ended ({}); starts again in {}", role.name, why(status), ms(delay)));
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            _ = orders.state.changed() => {}
            Some(upgrade) = orders.upgrades.recv() => {
                binary = open()?;
                let remains = "the binary on disk is started".to_owned();
                upgrade.answer(Err(Failure { reason: "it was not running".to_owned(), remains }));
            }
        }
    }
    Ok(())
}

async fn stop(process: Process<'_>, log: &Log, orders: &mut Orders, grace: Duration) -> Result<(), Error> {
    let hurry = async {
        let _ = orders.state.wait_for(|order| *order == Order::Kill).await;
    };
    process.stop(log, hurry, grace).await
}
