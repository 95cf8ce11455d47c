//! Ctrl-C and SIGTERM.
//!
//! Owns: turning either into one future. Invariant: a second signal ends the process at once; what it started ends with it.

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// Exit code of a program that Ctrl-C has ended, as shells have it: 128 and the signal.
const INTERRUPTED: i32 = 130;

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
    // The system's own way does not come back with the end of these (tokio::signal::unix). On a thread of its own: the one that was
    // interrupted may be busy.
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
