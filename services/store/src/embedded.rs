//! The embedded backend: this machine's disk, this process alone.
//!
//! Owns: the directory, its lock, and the parts that make transactions of an engine that has none: `view` (what
//! reads see), `transaction` (what one attempt did), `committer` (one thread that orders, checks and writes
//! them, many with one `fdatasync`), `resolver` (who conflicts), `fingers` (where reversed scans begin), `rows` (what is
//! read again and again), `memtables` (which the engine is done with), `watches`. The engine is fjall, used for
//! batches and snapshots only; docs/adr/0003 has the reasons.
//!
//! Invariant: only the committer writes, and only it publishes views; so a view never shows half a group of
//! commits, and never one that is not durable yet.

mod committer;
mod directory;
mod fingers;
mod memtables;
mod merge;
mod mutation;
mod queue;
mod recent;
mod resolver;
mod rows;
mod run;
mod transaction;
mod view;
mod watches;
mod write_buffer;

use std::{
    sync::Arc,
    thread::{self, JoinHandle},
};

use bytes::Bytes;

use self::{
    committer::Committer,
    directory::Directory,
    fingers::Fingers,
    queue::CommitQueue,
    recent::Recent,
    rows::Rows,
    transaction::EmbeddedTransaction,
    view::{View, Views},
    watches::Watches,
};
use crate::{
    address::EmbeddedAddress,
    answer::Answer,
    backend::{Access, Backend, BackendTransaction},
    error::OpenError,
    options::RunOptions,
};

/// An open directory.
pub(crate) struct Embedded {
    shared: Arc<Shared>,
}

/// What transactions use of the store they belong to.
struct Shared {
    views: Arc<Views>,
    queue: Arc<CommitQueue>,
    watches: Arc<Watches>,
    fingers: Fingers,
    rows: Arc<Rows>,
    /// Joined on drop; `None` once it was.
    committer: Option<JoinHandle<()>>,
    /// Dropped last: unlocks the directory.
    _directory: Directory,
}

impl Embedded {
    /// Opens the directory, making it first when it is missing. Blocks.
    pub(crate) fn open(address: &EmbeddedAddress) -> Result<Self, OpenError> {
        let directory = Directory::open(&address.dir)?;
        let none = Recent::new(directory.version, std::iter::empty());
        let first = View::newest(&directory.database, &directory.keyspace, directory.version, none);
        let views = Arc::new(Views::new(first));
        let queue = Arc::new(CommitQueue::default());
        let watches = Arc::new(Watches::default());
        let rows = Arc::<Rows>::default();
        let committer = Committer::new(
            &directory,
            address.durability,
            Arc::clone(&views),
            Arc::clone(&queue),
            Arc::clone(&watches),
            Arc::clone(&rows),
        );
        let committer = thread::Builder::new()
            .name("store-committer".to_owned())
            .spawn(|| committer.run())
            .map_err(|source| OpenError::Directory { dir: address.dir.clone(), source })?;
        let shared = Shared {
            views,
            queue,
            watches,
            fingers: Fingers::default(),
            rows,
            committer: Some(committer),
            _directory: directory,
        };
        Ok(Self { shared: Arc::new(shared) })
    }
}

impl Backend for Embedded {
    fn begin(&self, _options: &RunOptions, _access: Access) -> Box<dyn BackendTransaction> {
        Box::new(EmbeddedTransaction::new(Arc::clone(&self.shared)))
    }

    fn get<'a>(&'a self, key: &'a [u8]) -> Answer<'a, Option<Bytes>> {
        self.shared.rows.get(&self.shared.views.newest(), key).into()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.queue.close();
        self.watches.close();
        if let Some(committer) = self.committer.take()
            && committer.join().is_err()
        {
            tracing::error!("the store's committer had panicked");
        }
    }
}
