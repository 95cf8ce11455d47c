//! The embedded backend: a directory of this machine, used by this process alone.
//!
//! Owns the directory, its lock, and the parts that add transactions to an engine without them:
//! `view` (what reads see), `transaction` (what one attempt did), `committer` (the thread that
//! orders, checks and writes commits, many with one `fdatasync`), `resolver` (which commits
//! conflict), `fingers` (where reversed scans begin), `rows` (a cache of small rows), `memtables`
//! (frees the engine's memtables), `journal` (keeps what the engine would cut off), `backup` and
//! `control` (a copy while it is open), `writing` (the engine's handles, opened anew after a
//! failure), `watches`. The engine is fjall, used for batches and snapshots only; docs/adr/0003 has
//! the reasons.
//!
//! Invariant: only the committer writes, and only the committer publishes views; so a view never
//! shows half a group of commits, and never a commit that is not durable yet.

mod backup;
mod committer;
mod control;
mod directory;
mod fingers;
mod journal;
mod memtables;
mod merge;
mod mutation;
mod queue;
mod recent;
mod resolver;
mod rows;
mod run;
mod shared;
mod transaction;
mod view;
mod watches;
mod write_buffer;
mod writing;

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicBool},
    thread,
};

use bytes::Bytes;

use self::{
    committer::Committer,
    control::Control,
    directory::Directory,
    fingers::Fingers,
    queue::CommitQueue,
    recent::Recent,
    rows::Rows,
    shared::Shared,
    transaction::EmbeddedTransaction,
    view::{View, Views},
    watches::Watches,
    writing::Writing,
};
use crate::{
    address::EmbeddedAddress,
    answer::Answer,
    backend::{Access, Backend, BackendTransaction},
    backup::{Backup, BackupError},
    error::OpenError,
    options::RunOptions,
    owner::Owner,
};

/// An open directory.
pub(crate) struct Embedded {
    shared: Arc<Shared>,
}

impl Embedded {
    /// Opens the directory and creates it when it is missing. Blocks.
    pub(crate) fn open(address: &EmbeddedAddress, owner: Option<Owner>) -> Result<Self, OpenError> {
        let Directory { engine, version, lock } = Directory::open(&address.dir, owner)?;
        let none = Recent::new(version, std::iter::empty());
        let views = Arc::new(Views::new(View::newest(&engine, version, none)));
        let queue = Arc::new(CommitQueue::default());
        let watches = Arc::new(Watches::default());
        let rows = Arc::<Rows>::default();
        let committer = Committer::new(
            Writing::new(&address.dir, engine, address.durability),
            version,
            Arc::clone(&views),
            Arc::clone(&queue),
            Arc::clone(&watches),
            Arc::clone(&rows),
        );
        let committer = thread::Builder::new()
            .name("store-committer".to_owned())
            .spawn(|| committer.run())
            .map_err(|source| OpenError::Directory { dir: address.dir.clone(), source })?;
        let fingers = Fingers::default();
        let control = Control::start(&address.dir, Arc::clone(&views));
        let committer = Some(committer);
        let shared = Shared { views, queue, watches, fingers, rows, control, committer, _lock: lock };
        Ok(Self { shared: Arc::new(shared) })
    }
}

/// As [`crate::Store::backup_of`].
pub(crate) fn backup_of(address: &EmbeddedAddress, to: &Path) -> Result<Backup, BackupError> {
    if let Some(answer) = control::ask(&address.dir, to) {
        return answer;
    }
    // Opening would create a store.
    if !address.dir.join("engine").exists() {
        return Err(BackupError::Missing { dir: address.dir.clone() });
    }
    let embedded = Embedded::open(address, None).map_err(|error| BackupError::Open(Box::new(error)))?;
    embedded.backup(to)
}

impl Backend for Embedded {
    fn begin(&self, _options: &RunOptions, _access: Access) -> Box<dyn BackendTransaction> {
        Box::new(EmbeddedTransaction::new(Arc::clone(&self.shared)))
    }

    fn get<'a>(&'a self, key: &'a [u8]) -> Answer<'a, Option<Bytes>> {
        self.shared.rows.get(&self.shared.views.newest(), key).into()
    }

    fn backup(&self, to: &Path) -> Result<Backup, BackupError> {
        backup::write(&self.shared.views.newest(), to, &AtomicBool::new(false))
    }
}
