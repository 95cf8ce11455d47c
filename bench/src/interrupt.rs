//! Ctrl-C and SIGTERM.
//!
//! Owns turning either into one future. Invariant: a second signal ends the process at once, and
//! its children with it.

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// Exit code of a program that Ctrl-C ended, as in shells: 128 plus the signal.
const INTERRUPTED: i32 = 130;

/// Completes when the user or the system asks this process to stop.
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
    // Dropping tokio's handlers does not restore the default action (tokio::signal::unix), so a
    // second signal needs a handler too. It has its own thread, because the interrupted thread may
    // be busy.
    std::thread::spawn(|| {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
        runtime.block_on(async {
            let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM can be handled");
            let mut interrupt = signal(SignalKind::interrupt()).expect("SIGINT can be handled");
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        std::process::exit(INTERRUPTED);
    });
}

/// Runs `work`, which prints nothing before its end, until it ends or a stop is requested.
///
/// # Errors
/// Errors of `work`.
pub async fn ends(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::select! {
        done = work => done,
        () = requested() => {
            println!("stopped before anything was measured");
            Ok(())
        }
    }
}
