//! Waiting for another process by polling, with one deadline for all waits.
//!
//! Tests wait for a condition, not for a time, and fail with what they saw last.

use std::time::{Duration, Instant};

/// When a wait fails. Generous: a debug build on two busy cores needs far less.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Pause between two polls: short beside any wait, long enough to leave the cores to others.
const PAUSE: Duration = Duration::from_millis(10);

/// Calls `look` until it returns a value. Panics at the deadline with `what` and the last thing
/// seen.
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
