//! The directory of an embedded store: `lock`, and `engine` with fjall's files.
//!
//! Owns locking, creating an engine so that a crash leaves nothing half made, and the version of
//! the last commit. Invariant: at most one [`Directory`] exists for a path, in any process.

use std::{
    fs::{self, File, TryLockError},
    io,
    panic::resume_unwind,
    path::Path,
    thread,
};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, config::RestartIntervalPolicy};

use crate::{error::OpenError, limits};

/// Key of the last commit's version, 8 bytes big-endian, written with every group.
pub(crate) const VERSION_KEY: &[u8] = &[limits::SYSTEM_KEY_PREFIX, b'v'];

/// Blocks of the engine's files kept in memory, in bytes. Frequently read documents should fit.
const CACHE_BYTES: u64 = 128 * 1024 * 1024;

/// Threads that flush and compact. Few, because the workers need the cores; but not two, because
/// fjall reserves the first for flushes, and while the second compacts, the first spins on waiting
/// compactions.
const ENGINE_THREADS: usize = 3;

/// Added to the nice value of the engine's threads: they have about a fifteenth of a worker's
/// weight (sched(7)), so they progress when all cores are busy, and otherwise use what is left.
const ENGINE_NICE: i32 = 12;

/// An open engine, and the lock that reserves it for this process.
pub(crate) struct Directory {
    pub(crate) keyspace: Keyspace,
    pub(crate) database: Database,
    /// Version of the last commit; 0 in a new store.
    pub(crate) version: u64,
    /// Held, not read: closing the file releases the lock.
    _lock: File,
}

impl Directory {
    /// Locks and opens `dir`, and creates what is missing.
    pub(crate) fn open(dir: &Path) -> Result<Self, OpenError> {
        let unusable = |source| OpenError::Directory { dir: dir.to_owned(), source };
        let damaged = |source: fjall::Error| match source {
            fjall::Error::Locked => OpenError::Locked { dir: dir.to_owned() },
            source => OpenError::Engine { dir: dir.to_owned(), source: Box::new(source) },
        };
        fs::create_dir_all(dir).map_err(unusable)?;
        let lock = lock(dir)?;

        // fjall can't open a directory whose creation was interrupted, so the engine is created
        // under another name.
        let engine = dir.join("engine");
        if !engine.try_exists().map_err(unusable)? {
            let unfinished = dir.join("engine.new");
            remove(&unfinished).map_err(unusable)?;
            let (database, _) = open_engine(&unfinished).map_err(damaged)?;
            database.persist(PersistMode::SyncAll).map_err(damaged)?;
            drop(database);
            fs::rename(&unfinished, &engine).map_err(unusable)?;
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(unusable)?;
        }

        let (database, keyspace) = open_engine(&engine).map_err(damaged)?;
        let version = keyspace.get(VERSION_KEY).map_err(damaged)?;
        let version = match version.as_deref().map(<[u8; 8]>::try_from) {
            None => 0,
            Some(Ok(bytes)) => u64::from_be_bytes(bytes),
            // Without the version, versions would begin anew, and later writes would sort before
            // existing ones.
            Some(Err(_)) => {
                let source = "its version is not a number of 8 bytes".into();
                return Err(OpenError::Engine { dir: dir.to_owned(), source });
            }
        };
        Ok(Self { keyspace, database, version, _lock: lock })
    }
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let unusable = |source| OpenError::Directory { dir: dir.to_owned(), source };
    let file = File::options().create(true).truncate(false).write(true).open(dir.join("lock"));
    let file = file.map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
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

/// Opens the engine. Its threads inherit their nice value from the thread that starts them, so a
/// separate thread opens it. Otherwise a flush would take a core for most of a second, and requests
/// would wait behind it.
fn open_engine(dir: &Path) -> Result<(Database, Keyspace), fjall::Error> {
    let opened = thread::scope(|scope| {
        let opening = scope.spawn(|| {
            go_behind_workers();
            open_engine_here(dir)
        });
        opening.join()
    });
    opened.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Lowers the priority of the current thread and of the threads that it starts, below that of the
/// workers.
pub(crate) fn go_behind_workers() {
    if let Err(error) = rustix::process::nice(ENGINE_NICE) {
        tracing::debug!(%error, "a thread of the engine keeps its priority");
    }
}

fn open_engine_here(dir: &Path) -> Result<(Database, Keyspace), fjall::Error> {
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
    Ok((database, keyspace))
}
