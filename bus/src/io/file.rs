//! Which process removes the file of a Unix socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// True when this process is to remove the file of a Unix socket once it listens there no more.
/// Clones share it: a process that takes over several sockets becomes the owner of their files at
/// one moment, and stops being so when it hands them over.
#[derive(Clone, Debug)]
pub struct OwnsFile(Arc<AtomicBool>);

impl OwnsFile {
    /// Not shared yet.
    #[must_use]
    pub fn new(owns: bool) -> Self {
        Self(Arc::new(AtomicBool::new(owns)))
    }

    /// What it is now.
    #[must_use]
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Changes it for all clones.
    pub fn set(&self, owns: bool) {
        self.0.store(owns, Ordering::Relaxed);
    }
}
