//! Whether a worker accepts on the bus's listeners.

/// What happens on the listeners of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listening {
    /// Connections are accepted.
    On,
    /// Connections wait in the system's queue: another process may be about to accept them.
    Paused,
    /// The sockets are closed, and the files of Unix sockets removed.
    Closed,
    /// The sockets are closed here; another process has them, and their files are its own.
    HandedOver,
}
