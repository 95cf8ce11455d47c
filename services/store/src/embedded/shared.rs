//! The parts of an open store that its transactions share.
//!
//! Owns closing: the committer is joined, which closes the engine, then the directory is unlocked.

use std::{sync::Arc, thread::JoinHandle};

use super::{
    control::Control, directory::Lock, fingers::Fingers, queue::CommitQueue, rows::Rows, view::Views,
    watches::Watches,
};

/// What transactions use of their store.
pub(super) struct Shared {
    pub(super) views: Arc<Views>,
    pub(super) queue: Arc<CommitQueue>,
    pub(super) watches: Arc<Watches>,
    pub(super) fingers: Fingers,
    pub(super) rows: Arc<Rows>,
    /// Dropped first: a backup reads views.
    pub(super) control: Option<Control>,
    /// Joined on drop; `None` afterwards.
    pub(super) committer: Option<JoinHandle<()>>,
    /// Dropped last.
    pub(super) _lock: Lock,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.control = None;
        self.queue.close();
        self.watches.close();
        if let Some(committer) = self.committer.take()
            && committer.join().is_err()
        {
            tracing::error!("the store's committer had panicked");
        }
    }
}
