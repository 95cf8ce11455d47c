//! The state that a role should be in.

/// The state that a role should be in; it only moves downwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// Run, and restart when it ends.
    Run,
    /// Stop: SIGTERM, and SIGKILL after the deadline.
    Stop,
    /// Stop at once: SIGKILL.
    Kill,
}
