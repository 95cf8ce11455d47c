//! How long and how often [`crate::Store::run`] tries. Holds numbers only.

use std::time::Duration;

/// Bounds of one [`crate::Store::run`] or [`crate::Store::read`] with all its attempts.
///
/// Both bounds always apply: without them a transaction would wait for ever when a FoundationDB
/// cluster is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunOptions {
    /// Time for all attempts and the pauses between them. Default 5 s.
    pub timeout: Duration,
    /// Attempts after the first. Default 100: under contention the timeout is reached first.
    pub retries_max: u32,
    /// True when the closure may run again after a commit whose outcome is unknown, because running
    /// it twice has the same effect as running it once. Default false. The embedded backend always
    /// knows the outcome.
    pub idempotent: bool,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(5), retries_max: 100, idempotent: false }
    }
}

impl RunOptions {
    /// The defaults with this timeout.
    #[must_use]
    pub fn within(timeout: Duration) -> Self {
        Self { timeout, ..Self::default() }
    }

    /// The defaults, with the time left when that is shorter; `None` means no such limit.
    #[must_use]
    pub fn within_left(left: Option<Duration>) -> Self {
        let default = Self::default();
        Self { timeout: left.map_or(default.timeout, |left| left.min(default.timeout)), ..default }
    }

    /// Sets the number of attempts after the first.
    #[must_use]
    pub fn retries_max(self, retries_max: u32) -> Self {
        Self { retries_max, ..self }
    }

    /// States that running the closure twice has the same effect as running it once.
    #[must_use]
    pub fn idempotent(self) -> Self {
        Self { idempotent: true, ..self }
    }
}
