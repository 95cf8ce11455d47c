//! Where a plan comes from, and where its changes go: a directory or etcd behind one handle.
//!
//! Owns [`Source`], which reads and writes, and [`Driver`], the task that keeps it up to date.
//! Leaves documents to `document`, the two kinds of source to the modules of that name. Invariant:
//! losing the source changes nothing that is in force; no call blocks the runtime.

mod backoff;
mod board;
mod cache;
mod directory;
mod error;
mod etcd;
mod file;
mod flags;
mod hold;
mod request;
mod settings;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::watch;

pub use board::{DocumentStatus, RefusalStatus, State, Status};
pub use error::SourceError;
pub use flags::{EtcdFlags, PlanFlags};
pub use hold::{Election, Hold};
pub(crate) use request::now_ms;
pub use request::{Change, Expected, Write};
pub use settings::{EtcdUrl, PlanSettings, Prefix, Times, User};

use crate::document::{Key, Kind, Plan, Revision};
use board::Board;
use cache::Cache;
use hold::{Claim, Holds};

/// A source of documents. Clones are handles of the same source; readers may be on any thread.
#[derive(Clone)]
pub struct Source {
    board: Arc<Board>,
    holds: Arc<Holds>,
    store: Arc<Store>,
}

/// Readers on worker threads hold clones.
const _: fn() = || {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Source>();
};

enum Store {
    Directory(directory::Store),
    Etcd(etcd::Store),
}

/// Keeps a [`Source`] up to date for as long as [`Driver::run`] is polled.
pub struct Driver {
    source: Source,
    directory: Option<PathBuf>,
    cache: Option<Cache>,
}

impl Source {
    /// Opens a source. Nothing is read or connected before its driver runs, but for the files of
    /// TLS; so a directory or an etcd that is not there yet is no error.
    ///
    /// # Errors
    /// [`SourceError::Settings`] when the settings do not fit together, [`SourceError::File`] when
    /// a certificate cannot be read.
    pub fn open(settings: &PlanSettings) -> Result<(Self, Driver), SourceError> {
        settings.check()?;
        let (name, store) = match &settings.directory {
            Some(root) => (root.display().to_string(), Store::Directory(directory::Store::new(root.clone()))),
            None => {
                let urls: Vec<_> = settings.etcd.iter().map(ToString::to_string).collect();
                (format!("{} {}", urls.join(","), settings.prefix), Store::Etcd(etcd::Store::new(settings)?))
            }
        };
        let source =
            Self { board: Arc::new(Board::new(name)), holds: Arc::default(), store: Arc::new(store) };
        let directory = settings.directory.clone();
        let cache = settings.cache.clone().map(Cache::new);
        Ok((source.clone(), Driver { source, directory, cache }))
    }

    /// The documents that operators write, as they are in force, for readers on any thread.
    /// `changed()` of the receiver is cancel safe.
    pub fn plan(&self) -> watch::Receiver<Arc<Plan>> {
        self.board.plan()
    }

    /// The records that processes write: listeners of buses, states of rollouts, counts.
    pub fn records(&self) -> watch::Receiver<Arc<Plan>> {
        self.board.records()
    }

    /// Completes when the source has answered or, if etcd does not, the cache file was read. Put a
    /// time-out around it: without both it does not complete.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn loaded(&self) {
        let mut loaded = self.board.loaded();
        // This handle keeps the sender.
        let _ = loaded.wait_for(|loaded| *loaded).await;
    }

    /// The text and the revision of a document as it is in the source now, valid or not. Needs no
    /// driver.
    ///
    /// # Errors
    /// When the source does not answer or the kind is none of a directory.
    pub async fn get(&self, key: &Key) -> Result<Option<(bytes::Bytes, Revision)>, SourceError> {
        match &*self.store {
            Store::Directory(store) => store.get(key).await,
            Store::Etcd(store) => store.get(key).await,
        }
    }

    /// Writes or removes a document. Returns its new revision, 0 after a removal. Needs no driver.
    ///
    /// # Errors
    /// [`SourceError::Document`] when it fails its check, [`SourceError::Conflict`] when it has
    /// changed since it was read, [`SourceError::OutcomeUnknown`] when the connection broke.
    ///
    /// # Cancel safety
    /// Not cancel safe: a dropped future may have written.
    pub async fn write(&self, write: Write) -> Result<Revision, SourceError> {
        match &*self.store {
            Store::Directory(store) => store.write(write).await,
            Store::Etcd(store) => store.write(&write).await,
        }
    }

    /// Who changed a document, the newest change first: from etcd's revisions back to its last
    /// compaction, or from the directory's log.
    ///
    /// # Errors
    /// As for [`Source::get`].
    pub async fn history(&self, key: &Key) -> Result<Vec<Change>, SourceError> {
        match &*self.store {
            Store::Directory(store) => store.history(key).await,
            Store::Etcd(store) => store.history(key).await,
        }
    }

    /// Keeps a record in etcd under this process' lease: written again when it is deleted, gone
    /// with the process.
    ///
    /// # Errors
    /// [`SourceError::Document`] when it fails its check, [`SourceError::NeedsEtcd`] for a
    /// directory, and for kinds that are under no lease.
    pub fn hold(&self, key: Key, document: &str) -> Result<Hold, SourceError> {
        let leased = !key.kind().is_durable() && matches!(*self.store, Store::Etcd(_));
        if !leased {
            return Err(SourceError::NeedsEtcd(key));
        }
        if let Err(fault) = crate::document::check(key.kind(), document.as_bytes()) {
            return Err(SourceError::Document { key, fault });
        }
        Ok(self.holds.add(Claim::Record { key, document: document.into() }))
    }

    /// Becomes a candidate in an election among the processes of this source: of etcd, or of the
    /// machine when the source is a directory.
    ///
    /// # Errors
    /// [`SourceError::Settings`] when `election` is no name.
    pub fn elect(&self, election: &str) -> Result<Election, SourceError> {
        // The second name is the lease, in hexadecimal.
        Key::new(Kind::Candidate, &[election, "0"])
            .map_err(|error| SourceError::Settings(error.to_string()))?;
        Ok(Election::new(self.holds.add(Claim::Candidacy { election: election.to_owned() })))
    }

    /// What `/plan` answers.
    pub fn status(&self) -> Status {
        self.board.status()
    }
}

impl Driver {
    /// Keeps the source up to date until `stop` completes; then writes the cache file and gives
    /// back the lease, so that others need not wait for its end.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self { source, directory, cache } = self;
        let (board, holds) = (Arc::clone(&source.board), Arc::clone(&source.holds));
        match (&*source.store, directory) {
            (Store::Directory(_), root) => {
                let root = root.expect("the settings of a directory's store have one");
                tokio::select! {
                    () = stop => {}
                    () = directory::follow(root, board, holds) => {}
                }
            }
            (Store::Etcd(store), _) => {
                let lease = Arc::new(AtomicI64::new(0));
                tokio::select! {
                    () = stop => {}
                    () = follow_etcd(store, &board, &holds, cache.as_ref(), Arc::clone(&lease)) => {}
                }
                if let Some(cache) = &cache {
                    cache.save(&board).await;
                }
                etcd::end(store, lease.load(Ordering::Relaxed)).await;
            }
        }
    }
}

async fn follow_etcd(
    store: &etcd::Store,
    board: &Arc<Board>,
    holds: &Arc<Holds>,
    cache: Option<&Cache>,
    lease: Arc<AtomicI64>,
) {
    let mut known = Revision::default();
    if let Some(cache) = cache {
        known = cache.load(board).await;
    }
    let saved = async {
        match cache {
            Some(cache) => cache.follow(board).await,
            None => std::future::pending().await,
        }
    };
    tokio::join!(
        etcd::follow(store.clone(), Arc::clone(board), known),
        etcd::hold(store.clone(), Arc::clone(board), Arc::clone(holds), lease),
        saved,
    );
}
