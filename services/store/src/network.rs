//! The end of the threads that a store's client runs, before the process exits.
//!
//! FoundationDB's client has one network thread per process. It must have ended before `main`
//! returns, because the client library frees what that thread uses while the process exits.
//! `fdb::boot` starts and stops the thread; this module owns the guard that decides when.
//!
//! Invariant: a FoundationDB store is open only while a [`Network`] exists.

/// Ends the network threads of stores when the last guard of the process is dropped.
///
/// Create it first in `main` and drop it last, also when opening a store failed. A FoundationDB
/// store can't be opened without it, so a program that lacks it fails at its first start. Embedded
/// stores need no guard: dropping the last clone of a [`crate::Store`] ends their threads.
///
/// The client can't be started again: after the last guard is gone, opening a FoundationDB store
/// returns [`crate::OpenError::NetworkStopped`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let address = format!("embedded:{}", dir.path().display()).parse()?;
/// let network = store::Network::new();
/// let store = store::Store::open(&address)?;
/// // ... serve ...
/// drop(store);
/// drop(network);
/// # Ok(()) }
/// ```
#[must_use = "the network stops when the guard is dropped"]
#[derive(Debug)]
pub struct Network {
    _private: (),
}

impl Network {
    /// A guard. Starts nothing: the first FoundationDB store does.
    #[expect(clippy::new_without_default, reason = "a default would hide that it is a guard")]
    pub fn new() -> Self {
        #[cfg(feature = "fdb")]
        crate::fdb::boot::hold();
        Self { _private: () }
    }

    /// Stops the network threads now, however many guards exist, and waits for them to end. For a
    /// process that ends without returning from `main`, such as after a second signal. Calls of
    /// stores that still wait then wait until their timeout; a commit among them may have taken
    /// effect.
    pub fn stop_all() {
        #[cfg(feature = "fdb")]
        crate::fdb::boot::stop();
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        #[cfg(feature = "fdb")]
        crate::fdb::boot::release();
    }
}
