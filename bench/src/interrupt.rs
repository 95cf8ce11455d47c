//! Ctrl-C and SIGTERM.
//!
//! Owns: turning either into one future. Invariant: a second signal is not waited for; it ends the process as the system does
//! by default, since nobody listens any more.

use tokio::signal::unix::{SignalKind, signal};

/// Done when the user or the system asks this process to stop.
///
/// # Panics
/// When the system has no signal handling, which Linux always has.
pub async fn requested() {
    let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM can be handled");
    let mut interrupt = signal(SignalKind::interrupt()).expect("SIGINT can be handled");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Runs `work`, which shows nothing before its end, until then or until it is asked to stop.
///
/// # Errors
/// Those of `work`.
pub async fn ends(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::select! {
        done = work => done,
        () = requested() => {
            println!("stopped before there was a figure");
            Ok(())
        }
    }
}
