//! Writing groups to the engine, and opening the engine anew after a failure.
//!
//! fjall takes no writes after a failed one, such as on a full disk, until it is opened again: part
//! of a batch may be in its journal. This module refuses a group for which there is too little
//! space before the engine sees it, and reopens the engine when a write or a flush failed all the
//! same.
//!
//! Readers keep the old engine's keyspace for as long as their views exist, and with it the old
//! journal, whose buffer is written when the last of them is dropped. So the new engine never
//! appends to that journal: it gets an empty one, and replays the old one as a full one.
//!
//! Invariant: at most one engine has threads and writes; what was written before a failure is
//! replayed up to its last whole batch.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bytes::Bytes;
use fjall::{OwnedWriteBatch as WriteBatch, PersistMode};

use super::{
    directory::{Engine, VERSION_KEY},
    recent::Recent,
    view::View,
};
use crate::address::Durability;

/// Free space below which nothing is written, besides what the engine's tables in memory need when
/// they are flushed. Compactions and other processes use it.
const RESERVE_BYTES: u64 = 64 * 1024 * 1024;

/// The reserve on a small file system, as a part of its size.
const RESERVE_PART: u64 = 16;

/// The part of the reserve that must be free for a flush, which frees a journal afterwards.
const RESERVE_FLUSH: u64 = 4;

/// How long space that was found counts as free. Asking takes a microsecond, a tenth of a buffered
/// commit; a disk that another process fills in this time is an error of the engine.
const ROOM_FOR: Duration = Duration::from_millis(10);

/// Shortest time between two attempts to open the engine anew.
const REOPEN_GAP: Duration = Duration::from_secs(1);

/// The engine as the committer uses it.
pub(super) struct Writing {
    dir: PathBuf,
    persist: PersistMode,
    /// `None` after an attempt to open it failed.
    engine: Option<Engine>,
    /// The reason why the engine takes no writes.
    failed: Option<String>,
    /// The last attempt to open the engine anew.
    tried: Option<Instant>,
    /// Space that was found.
    room: Option<Room>,
}

/// Space that may be used without asking the file system again.
struct Room {
    until: Instant,
    bytes: u64,
}

impl Writing {
    pub(super) fn new(dir: &Path, engine: Engine, durability: Durability) -> Self {
        let persist = match durability {
            Durability::Fsync => PersistMode::SyncData,
            Durability::Buffered => PersistMode::Buffer,
        };
        Self { dir: dir.to_owned(), persist, engine: Some(engine), failed: None, tried: None, room: None }
    }

    /// Succeeds when there is space for a group of this many bytes. The file system is asked again
    /// after [`ROOM_FOR`], or when an eighth of what was free may have been written.
    ///
    /// # Errors
    /// The reason, in words.
    pub(super) fn check_space(&mut self, bytes: u64) -> Result<(), String> {
        if let Some(room) = &mut self.room
            && room.until > Instant::now()
            && let Some(left) = room.bytes.checked_sub(bytes)
        {
            room.bytes = left;
            return Ok(());
        }
        self.room = None;
        let Some(engine) = &self.engine else { return Ok(()) };
        let unflushed = engine.database.write_buffer_size();
        // A group is in the journal and in a table of the engine.
        let refused = match self.check_free(2 * bytes + unflushed, 1) {
            Ok(left) => {
                self.room = Some(Room { until: Instant::now() + ROOM_FOR, bytes: left / 8 });
                return Ok(());
            }
            Err(reason) => reason,
        };
        // A flush may have failed; only a write shows it.
        if let Err(error) = engine.database.persist(PersistMode::Buffer) {
            self.failed = Some(explained(&error));
        } else if unflushed > 0 && self.check_free(unflushed, RESERVE_FLUSH).is_ok() {
            // A flush turns space that is set aside for it into space in use.
            let flushed = engine.keyspace.rotate_memtable();
            flushed.inspect_err(|error| tracing::debug!(%error, "the engine is not flushed")).ok();
        }
        Err(refused)
    }

    /// Writes a group; after an error nothing is written until [`Writing::reopened`] succeeds.
    ///
    /// # Errors
    /// The engine's error. The group may be in the journal.
    pub(super) fn write(
        &mut self,
        version: u64,
        written: BTreeMap<Bytes, Option<Bytes>>,
    ) -> Result<(), fjall::Error> {
        let engine = self.engine.as_ref().ok_or(fjall::Error::Poisoned)?;
        // One more for the version.
        let batch = WriteBatch::with_capacity(engine.database.clone(), written.len() + 1);
        let mut batch = batch.durability(Some(self.persist));
        for (key, value) in written {
            match value {
                Some(value) => batch.insert(&engine.keyspace, key, value),
                None => batch.remove(&engine.keyspace, key),
            }
        }
        batch.insert(&engine.keyspace, VERSION_KEY, version.to_be_bytes());
        batch.commit().inspect_err(|error| self.failed = Some(explained(error)))
    }

    /// The reason why nothing is written now.
    pub(super) fn failed(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// Opens the engine anew when it failed, the last attempt is old enough and there is space.
    /// Returns the version of the last commit that is in it.
    pub(super) fn reopened(&mut self) -> Option<u64> {
        self.failed.as_ref()?;
        if self.tried.is_some_and(|tried| tried.elapsed() < REOPEN_GAP) {
            return None;
        }
        self.tried = Some(Instant::now());
        match self.reopen() {
            Ok(version) => {
                tracing::warn!(dir = %self.dir.display(), version, "the store takes writes again");
                self.failed = None;
                Some(version)
            }
            Err(reason) => {
                tracing::warn!(dir = %self.dir.display(), reason, "the store still takes no writes");
                self.failed = Some(reason);
                None
            }
        }
    }

    /// A view of `version`, which must be the last one written; `None` while there is no engine.
    pub(super) fn view(&self, version: u64, recent: Recent) -> Option<View> {
        self.engine.as_ref().map(|engine| View::newest(engine, version, recent))
    }

    pub(super) fn engine(&self) -> Option<&Engine> {
        self.engine.as_ref()
    }

    fn reopen(&mut self) -> Result<u64, String> {
        let dir = self.dir.join("engine");
        let journals = journals(&dir).map_err(|error| error.to_string())?;
        // The journals are replayed into memory and then flushed.
        let sizes = journals.iter().map(|(_, path)| super::journal::replayed(path));
        let bytes: u64 = sizes.sum::<io::Result<u64>>().map_err(|error| error.to_string())?;
        self.check_free(bytes, RESERVE_FLUSH)?;
        // Ends the old engine's threads; its last clone of the database is here.
        self.engine = None;
        let prepared = || {
            let next = journals.iter().map(|(number, _)| number + 1).max().unwrap_or(0);
            File::create_new(dir.join(format!("{next}.jnl")))?.sync_all()?;
            // Views hold the old lock file open and locked. `Directory` holds the store's own lock.
            fs::remove_file(dir.join("lock"))?;
            File::create_new(dir.join("lock"))?;
            File::open(&dir)?.sync_all()
        };
        prepared().map_err(|error: io::Error| error.to_string())?;
        let engine = Engine::open(&dir).map_err(|error| explained(&error))?;
        let version = engine.version().map_err(|error| explained(&error))?;
        self.engine = Some(engine);
        Ok(version)
    }

    /// Succeeds when `bytes` and this part of the reserve are free; returns what is free besides.
    fn check_free(&self, bytes: u64, reserve_part: u64) -> Result<u64, String> {
        let space = rustix::fs::statvfs(&self.dir).map_err(|error| error.to_string())?;
        let (free, size) = (space.f_bavail * space.f_frsize, space.f_blocks * space.f_frsize);
        let needed = bytes + RESERVE_BYTES.min(size / RESERVE_PART) / reserve_part;
        if free < needed {
            let mib = |bytes: u64| bytes.div_ceil(1024 * 1024);
            let (free, needed) = (free / (1024 * 1024), mib(needed));
            return Err(format!(
                "the disk of {} has {free} MiB free, {needed} MiB are needed: delete something or enlarge it",
                self.dir.display()
            ));
        }
        Ok(free - needed)
    }
}

fn journals(engine: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut journals = Vec::new();
    for entry in fs::read_dir(engine)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        if let Some(number) = number
            && path.extension().is_some_and(|extension| extension == "jnl")
        {
            journals.push((number, path));
        }
    }
    Ok(journals)
}

/// The engine's error in words.
fn explained(error: &fjall::Error) -> String {
    match error {
        fjall::Error::Io(error) => error.to_string(),
        fjall::Error::Poisoned => "the engine failed to write to its files".to_owned(),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, process::Command};

    use super::*;
    use crate::embedded::directory::Directory;

    fn group(number: u64) -> BTreeMap<Bytes, Option<Bytes>> {
        let value = |index: u64| {
            let mut value = vec![0; 10_000];
            fastrand::Rng::with_seed(number * 1000 + index).fill(&mut value);
            Some(Bytes::from(value))
        };
        let key = |index: u64| Bytes::copy_from_slice(&[number.to_be_bytes(), index.to_be_bytes()].concat());
        (0..100).map(|index| (key(index), value(index))).collect()
    }

    fn holds(view: &View, number: u64) -> bool {
        group(number).iter().all(|(key, value)| view.get(key).unwrap() == *value)
    }

    /// A real full disk: the engine writes part of a batch.
    #[test]
    fn a_batch_that_the_disk_cut_off_is_dropped_and_the_engine_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=32m", "tmpfs"]).arg(dir.path()).status();
        if !mounted.is_ok_and(|status| status.success()) {
            println!("SKIPPED: no tmpfs can be mounted here");
            return;
        }
        let store = dir.path().join("store");
        let Directory { engine, lock, .. } = Directory::open(&store, None).unwrap();
        let mut writing = Writing::new(&store, engine, Durability::Fsync);
        writing.write(1, group(1)).unwrap();
        let old = writing.view(1, Recent::new(1, std::iter::empty())).unwrap();

        let filler = dir.path().join("filler");
        let mut file = File::create(&filler).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
        assert!(writing.check_space(1).unwrap_err().contains("0 MiB free"));
        let refused = writing.write(2, group(2)).unwrap_err();
        assert!(
            matches!(&refused, fjall::Error::Io(error) if error.kind() == io::ErrorKind::StorageFull),
            "{refused}"
        );
        assert!(writing.failed().is_some() && writing.reopened().is_none(), "the disk is still full");
        assert!(holds(&old, 1), "reads are answered");

        drop(file);
        fs::remove_file(filler).unwrap();
        writing.tried = None;
        assert_eq!(writing.reopened(), Some(1), "{:?}", writing.failed());
        writing.write(3, group(3)).unwrap();
        assert!(holds(&old, 1) && !holds(&old, 3));
        // The old journal's buffer is written now, and must not reach what the new engine wrote.
        drop(old);
        writing.write(4, group(4)).unwrap();
        drop((writing, lock));

        let Directory { engine, lock, version, .. } = Directory::open(&store, None).unwrap();
        let view = View::newest(&engine, version, Recent::new(version, std::iter::empty()));
        assert_eq!(version, 4);
        assert_eq!([1, 2, 3, 4].map(|number| holds(&view, number)), [true, false, true, true]);
        drop((view, engine, lock));
        Command::new("umount").arg("--lazy").arg(dir.path()).status().unwrap();
    }
}
