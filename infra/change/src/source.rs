//! Where a plan comes from, and where its changes go: a directory, etcd and Unleash behind one
//! handle.
//!
//! Owns [`Source`], which reads and writes, and [`Driver`], the task that keeps it up to date.
//! Leaves documents to `document`, the kinds of source to the modules of that name. Invariant:
//! losing the source changes nothing that is in force; no call blocks the runtime.
//!
//! Unleash has toggles and segments. Beside a directory or etcd, it has those of the plan, and what
//! is there of them is ignored.

mod backoff;
mod board;
mod cache;
mod directory;
mod error;
mod etcd;
mod file;
mod flags;
mod hold;
mod http;
mod place;
mod request;
mod settings;
mod unleash;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::watch;

pub use board::{DocumentStatus, RefusalStatus, State, Status};
pub use error::SourceError;
pub use flags::{EtcdFlags, PlanFlags};
pub use hold::{Election, Hold};
pub use place::{Place, Token, UnleashUrl};
pub(crate) use request::now_ms;
pub use request::{Change, Expected, Write};
pub use settings::{EtcdUrl, PlanSettings, Prefix, Times, UnleashSettings, User};

use crate::document::{Key, Kind, Plan, Revision};
use board::{Board, Part, Plans};
use cache::Cache;
use hold::{Claim, Holds};

/// A source of documents. Clones are handles of the same source; readers may be on any thread.
#[derive(Clone)]
pub struct Source {
    board: Arc<Board>,
    holds: Arc<Holds>,
    store: Arc<Store>,
    /// The Unleash that has the toggles beside `store`.
    unleash: Option<Arc<Unleash>>,
}

/// Readers on worker threads hold clones.
const _: fn() = || {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Source>();
};

enum Store {
    Directory(directory::Store),
    Etcd(etcd::Store),
    Unleash(Box<unleash::Store>),
}

struct Unleash {
    board: Board,
    store: unleash::Store,
}

/// Keeps a [`Source`] up to date for as long as [`Driver::run`] is polled.
pub struct Driver {
    source: Source,
    /// That of [`Source::store`].
    cache: Option<Cache>,
    /// That of [`Source::unleash`].
    unleash_cache: Option<Cache>,
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
        let mut beside = settings.unleash.as_ref();
        let (name, store) = if let Some(root) = &settings.directory {
            (root.display().to_string(), Store::Directory(directory::Store::new(root.clone())))
        } else if let Some(unleash) = beside.take_if(|_| settings.etcd.is_empty()) {
            (
                format!("unleash:{}", unleash.url),
                Store::Unleash(Box::new(unleash::Store::new(unleash, settings)?)),
            )
        } else {
            let urls: Vec<_> = settings.etcd.iter().map(ToString::to_string).collect();
            (format!("{} {}", urls.join(","), settings.prefix), Store::Etcd(etcd::Store::new(settings)?))
        };
        let plans = Arc::<Plans>::default();
        let part = if beside.is_some() { Part::Rest } else { Part::Whole };
        let board = Arc::new(Board::new(name, &plans, part));
        let unleash = match beside {
            Some(unleash) => {
                let board = Board::new(format!("unleash:{}", unleash.url), &plans, Part::Toggles);
                Some(Arc::new(Unleash { board, store: unleash::Store::new(unleash, settings)? }))
            }
            None => None,
        };
        let cache = settings.cache.clone().filter(|_| !matches!(store, Store::Directory(_))).map(Cache::new);
        let unleash_cache = settings.cache.clone().filter(|_| unleash.is_some()).map(Cache::of_unleash);
        let source = Self { board, holds: Arc::default(), store: Arc::new(store), unleash };
        Ok((source.clone(), Driver { source, cache, unleash_cache }))
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

    /// Completes when the source has answered or, if it does not, the cache file was read; the same
    /// for Unleash. Put a time-out around it: without both it does not complete.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn loaded(&self) {
        let boards = [&*self.board].into_iter().chain(self.unleash.iter().map(|unleash| &unleash.board));
        for board in boards {
            let mut loaded = board.loaded();
            // This handle keeps the sender.
            let _ = loaded.wait_for(|loaded| *loaded).await;
        }
    }

    /// The text and the revision of a document as it is in the source now, valid or not. Needs no
    /// driver.
    ///
    /// # Errors
    /// When the source does not answer or the kind is none of a directory.
    pub async fn get(&self, key: &Key) -> Result<Option<(bytes::Bytes, Revision)>, SourceError> {
        if let Some(store) = self.unleash_of(key) {
            return store.get(key).await;
        }
        match &*self.store {
            Store::Directory(store) => store.get(key).await,
            Store::Etcd(store) => store.get(key).await,
            Store::Unleash(_) => Err(SourceError::TogglesOnly(key.clone())),
        }
    }

    /// Writes or removes a document. Returns its new revision, 0 after a removal. Needs no driver.
    ///
    /// # Errors
    /// [`SourceError::Document`] when it fails its check, [`SourceError::Conflict`] when it has
    /// changed since it was read, [`SourceError::OutcomeUnknown`] when the connection broke,
    /// [`SourceError::ReadOnly`] for what Unleash has.
    ///
    /// # Cancel safety
    /// Not cancel safe: a dropped future may have written.
    pub async fn write(&self, write: Write) -> Result<Revision, SourceError> {
        if let Some(store) = self.unleash_of(&write.key) {
            return store.write(&write);
        }
        match &*self.store {
            Store::Directory(store) => store.write(write).await,
            Store::Etcd(store) => store.write(&write).await,
            Store::Unleash(_) => Err(SourceError::TogglesOnly(write.key)),
        }
    }

    /// Who changed a document, the newest change first: from etcd's revisions back to its last
    /// compaction, or from the directory's log.
    ///
    /// # Errors
    /// As for [`Source::get`].
    pub async fn history(&self, key: &Key) -> Result<Vec<Change>, SourceError> {
        if let Some(store) = self.unleash_of(key) {
            return store.history(key);
        }
        match &*self.store {
            Store::Directory(store) => store.history(key).await,
            Store::Etcd(store) => store.history(key).await,
            Store::Unleash(_) => Err(SourceError::TogglesOnly(key.clone())),
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
        self.board.status(self.unleash.as_ref().map(|unleash| &unleash.board))
    }

    /// The Unleash that has this document.
    fn unleash_of(&self, key: &Key) -> Option<&unleash::Store> {
        let beside = self.unleash.as_ref().map(|unleash| &unleash.store);
        let store = match &*self.store {
            Store::Unleash(store) => Some(&**store),
            _ => beside,
        };
        store.filter(|_| unleash::owns(key.kind()))
    }
}

impl Driver {
    /// Keeps the source up to date until `stop` completes; then writes the cache files and gives
    /// back the lease, so that others need not wait for its end.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self { source: Source { board, holds, store, unleash }, cache, unleash_cache } = self;
        let lease = Arc::new(AtomicI64::new(0));
        let first = cached(cache.as_ref(), &board, async |known| match &*store {
            Store::Directory(store) => {
                directory::follow(store.root().to_owned(), Arc::clone(&board), Arc::clone(&holds)).await;
            }
            Store::Etcd(store) => {
                let held =
                    etcd::hold(store.clone(), Arc::clone(&board), Arc::clone(&holds), Arc::clone(&lease));
                tokio::join!(etcd::follow(store.clone(), Arc::clone(&board), known), held);
            }
            Store::Unleash(store) => unleash::follow(store, &board).await,
        });
        let beside = async {
            if let Some(Unleash { board, store }) = unleash.as_deref() {
                cached(unleash_cache.as_ref(), board, async |_| unleash::follow(store, board).await).await;
            }
        };
        tokio::select! {
            () = stop => {}
            _ = async { tokio::join!(first, beside) } => {}
        }
        if let Some(cache) = &cache {
            cache.save(&board).await;
        }
        if let (Some(cache), Some(unleash)) = (&unleash_cache, &unleash) {
            cache.save(&unleash.board).await;
        }
        if let Store::Etcd(store) = &*store {
            etcd::end(store, lease.load(Ordering::Relaxed)).await;
        }
    }
}

/// Follows a source with its cache: reads it before, and writes it after each change.
async fn cached(cache: Option<&Cache>, board: &Board, follow: impl AsyncFnOnce(Revision)) {
    match cache {
        Some(cache) => {
            let known = cache.load(board).await;
            tokio::join!(follow(known), cache.follow(board));
        }
        None => follow(Revision::default()).await,
    }
}
