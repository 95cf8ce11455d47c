//! The directory of an embedded store: `lock`, `engine` with fjall's files, and `torn` with what
//! could not be replayed.
//!
//! Owns locking, creating an engine so that a crash leaves nothing half made, the version of the
//! last commit, and the stamp of the owner. Invariant: at most one [`Directory`] exists for a path,
//! in any process.

use std::{
    fs::{self, File, TryLockError},
    io,
    panic::resume_unwind,
    path::Path,
    thread,
};

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, config::RestartIntervalPolicy};

use super::journal;
use crate::{
    counters::{self, Counter},
    error::OpenError,
    limits,
    owner::{self, Owner},
};

/// Key of the last commit's version, 8 bytes big-endian, written with every group.
pub(crate) const VERSION_KEY: &[u8] = &[limits::SYSTEM_KEY_PREFIX, b'v'];

/// Key of the owner's stamp.
const OWNER_KEY: &[u8] = &[limits::SYSTEM_KEY_PREFIX, b'o'];

/// Blocks of the engine's files kept in memory, in bytes. Frequently read documents should fit.
const CACHE_BYTES: u64 = 128 * 1024 * 1024;

/// Threads that flush and compact. Few, because the workers need the cores; but not two, because
/// fjall reserves the first for flushes, and while the second compacts, the first spins on waiting
/// compactions.
const ENGINE_THREADS: usize = 3;

/// Added to the nice value of the engine's threads: they have about a fifteenth of a worker's
/// weight (sched(7)), so they progress when all cores are busy, and otherwise use what is left.
const ENGINE_NICE: i32 = 12;

/// fjall's handles. Dropping the last clone of `database` ends the engine's threads; the keyspace
/// can still be read then.
pub(crate) struct Engine {
    pub(crate) keyspace: Keyspace,
    pub(crate) database: Database,
}

/// An open engine, and the lock that reserves it for this process.
pub(crate) struct Directory {
    pub(crate) engine: Engine,
    /// Version of the last commit; 0 in a new store.
    pub(crate) version: u64,
    pub(crate) lock: Lock,
}

/// The lock of a directory, released on drop.
pub(crate) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough: a child of this process that has not begun its program
        // yet has the file open too, and with it the lock.
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "a store's directory stays locked until its file is closed");
        }
    }
}

impl Directory {
    /// Locks and opens `dir`, and creates what is missing. With an owner, a store that has none
    /// yet gets it, and one of another owner is refused.
    pub(crate) fn open(dir: &Path, owner: Option<Owner>) -> Result<Self, OpenError> {
        let unusable = |source| OpenError::Directory { dir: dir.to_owned(), source };
        fs::create_dir_all(dir).map_err(unusable)?;
        let lock = lock(dir)?;

        // fjall can't open a directory whose creation was interrupted, so the engine is created
        // under another name.
        let engine = dir.join("engine");
        if !engine.try_exists().map_err(unusable)? {
            let unfinished = dir.join("engine.new");
            remove(&unfinished).map_err(unusable)?;
            let made = Engine::open(&unfinished).map_err(|source| damaged(dir, source))?;
            made.database.persist(PersistMode::SyncAll).map_err(|source| damaged(dir, source))?;
            drop(made);
            fs::rename(&unfinished, &engine).map_err(unusable)?;
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(unusable)?;
        }

        let torn = journal::keep_torn(&engine, &dir.join("torn")).map_err(unusable)?;
        for torn in &torn {
            tracing::error!(
                journal = %torn.journal.display(), offset = torn.offset, bytes = torn.len, kept = %torn.kept.display(),
                "the end of a journal can't be replayed: a commit that a crash interrupted, or a damaged file whose \
                 commits from there on are lost; it is kept"
            );
        }
        let torn_bytes: u64 = torn.iter().map(|torn| torn.len).sum();
        counters::add(Counter::TornBytes, torn_bytes);
        let engine = Engine::open(&engine).map_err(|source| damaged(dir, source))?;
        // A commit has more than one byte, so the sum is past every version that is lost. Clients
        // may know these versions, and a second commit must not get one of them.
        let version = engine.version().map_err(|source| damaged(dir, source))? + torn_bytes;
        if torn_bytes > 0 {
            let kept = engine.keyspace.insert(VERSION_KEY, version.to_be_bytes());
            let kept = kept.and_then(|()| engine.database.persist(PersistMode::SyncAll));
            kept.map_err(|source| damaged(dir, source))?;
        }
        if let Some(owner) = owner {
            engine.claim(owner, dir)?;
        }
        Ok(Self { engine, version, lock })
    }
}

impl Engine {
    /// Opens the engine. Its threads inherit their nice value from the thread that starts them, so
    /// a separate thread opens it. Otherwise a flush would take a core for most of a second, and
    /// requests would wait behind it.
    pub(crate) fn open(dir: &Path) -> Result<Self, fjall::Error> {
        let opened = thread::scope(|scope| {
            let opening = scope.spawn(|| {
                go_behind_workers();
                open_here(dir)
            });
            opening.join()
        });
        opened.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// The version of the last commit; 0 when there is none.
    pub(crate) fn version(&self) -> Result<u64, fjall::Error> {
        let version = self.keyspace.get(VERSION_KEY)?;
        match version.as_deref().map(<[u8; 8]>::try_from) {
            None => Ok(0),
            Some(Ok(bytes)) => Ok(u64::from_be_bytes(bytes)),
            // Without the version, versions would begin anew, and later writes would sort before
            // existing ones.
            Some(Err(_)) => Err(fjall::Error::Unrecoverable),
        }
    }

    fn claim(&self, owner: Owner, dir: &Path) -> Result<(), OpenError> {
        let name = || dir.display().to_string();
        if let Some(stamp) = self.keyspace.get(OWNER_KEY).map_err(|source| damaged(dir, source))? {
            return owner::check(owner, &stamp, name);
        }
        // Written before stores had a stamp.
        if let Some(first) = self.keyspace.first_key_value() {
            let first = first.key().map_err(|source| damaged(dir, source))?;
            if first[0] != limits::SYSTEM_KEY_PREFIX && !owner.may_own(&first) {
                let found = format!("another service, whose first key is {:?}", Bytes::from(first));
                return Err(OpenError::OwnedByOther { store: name(), found, asked: owner.service });
            }
        }
        let stamped = self.keyspace.insert(OWNER_KEY, owner.stamp());
        stamped
            .and_then(|()| self.database.persist(PersistMode::SyncAll))
            .map_err(|source| damaged(dir, source))
    }
}

fn damaged(dir: &Path, source: fjall::Error) -> OpenError {
    match source {
        fjall::Error::Locked => OpenError::Locked { dir: dir.to_owned() },
        source => OpenError::Engine { dir: dir.to_owned(), source: Box::new(source) },
    }
}

fn lock(dir: &Path) -> Result<Lock, OpenError> {
    let unusable = |source| OpenError::Directory { dir: dir.to_owned(), source };
    let file = File::options().create(true).truncate(false).write(true).open(dir.join("lock"));
    let file = file.map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(unusable(source)),
    }
}

fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Lowers the priority of the current thread and of the threads that it starts, below that of the
/// workers.
pub(crate) fn go_behind_workers() {
    if let Err(error) = rustix::process::nice(ENGINE_NICE) {
        tracing::debug!(%error, "a thread of the engine keeps its priority");
    }
}

fn open_here(dir: &Path) -> Result<Engine, fjall::Error> {
    let database = Database::builder(dir)
        .cache_size(CACHE_BYTES)
        .worker_threads(ENGINE_THREADS)
        .manual_journal_persist(true)
        .open()?;
    // Every fourth key of a block is stored whole (the default is every 16th), so that a search
    // decodes fewer prefix-compressed keys.
    let options =
        || KeyspaceCreateOptions::default().data_block_restart_interval_policy(RestartIntervalPolicy::all(4));
    let keyspace = database.keyspace("keys", options)?;
    Ok(Engine { keyspace, database })
}
