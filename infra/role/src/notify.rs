//! What the role tells the service manager (`sd_notify(3)`).
//!
//! Owns: the messages and the watchdog's rhythm. Leaves to `life` when each is sent. Invariant:
//! without `NOTIFY_SOCKET` nothing is sent, and a service manager that does not listen changes
//! nothing.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::MissedTickBehavior;

use crate::worker::Workers;

/// Everything is bound and the workers run.
pub(crate) fn ready() {
    send(&[NotifyState::Ready, NotifyState::Status("serving")]);
}

/// The role has begun to stop.
pub(crate) fn stopping() {
    send(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// A successor serves: it is the one to look after from now on. This process's end is not the
/// role's.
pub(crate) fn main_process(pid: u32) {
    send(&[NotifyState::MainPid(pid)]);
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told (NOTIFY_SOCKET)");
    }
}

/// Tells the service manager at half of `WATCHDOG_USEC` that the role is alive, as long as every
/// worker answers: one that hangs or has panicked gets the role restarted. Never completes.
pub(crate) async fn watchdog<S: 'static>(workers: &Workers<S>) {
    let Some(period) = sd_notify::watchdog_enabled().filter(|period| !period.is_zero()) else {
        return std::future::pending().await;
    };
    let half = (period / 2).max(Duration::from_millis(1));
    let mut ticks = tokio::time::interval(half);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // The answers are awaited for as long as the service manager would wait.
        match tokio::time::timeout(half, workers.ask(|_| ())).await {
            Ok(answers) if answers.len() == workers.count() => send(&[NotifyState::Watchdog]),
            Ok(answers) => {
                let (running, workers) = (answers.len(), workers.count());
                tracing::error!(running, workers, "a worker has ended: the watchdog is not told");
            }
            Err(_) => tracing::error!("a worker does not answer: the watchdog is not told"),
        }
    }
}
