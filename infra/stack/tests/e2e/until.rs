//! Waiting for what another process does: by polling, with one deadline for all.
//!
//! No test waits a fixed time: it waits for what it needs, and fails with what it saw last.

use std::time::{Duration, Instant};

/// When a wait has failed. Generous: a debug build on two busy cores is still far below it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Between two looks: short beside anything waited for, long enough to leave the cores to the others.
const PAUSE: Duration = Duration::from_millis(10);

/// Calls `look` until it brings a value. Panics at the deadline with `what` and the last thing seen.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match look() {
            Ok(value) => return value,
            Err(seen) if start.elapsed() > DEADLINE => {
                panic!("{what}: not within {DEADLINE:?}; last seen: {seen}")
            }
            Err(_) => std::thread::park_timeout(PAUSE),
        }
    }
}
