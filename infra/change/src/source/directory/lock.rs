//! Locks of a directory: the writers' lock, and elections among the processes of one machine.
//!
//! Owns the lock files, which are empty, hidden, and never removed. Invariant: the kernel releases
//! a lock when its holder dies, so nothing has to expire.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::source::error::SourceError;
use crate::source::hold::{Claim, Holds};

/// The writers' lock.
const WRITERS: &str = ".lock";

/// What the locks of elections begin with.
const ELECTION: &str = ".election-";

/// How long a writer waits for another: a write takes some milliseconds.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// How often a lock is tried.
const RETRY: Duration = Duration::from_millis(20);

/// How often a candidate tries to lead.
const CAMPAIGN: Duration = Duration::from_millis(500);

/// True for the files of this module.
pub(super) fn is_lock(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name == WRITERS || name.starts_with(ELECTION)
}

/// Takes the lock in `folder` by which writers exclude each other; dropping the file releases it.
pub(super) async fn exclusive(folder: &Path) -> Result<File, SourceError> {
    let path = folder.join(WRITERS);
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        let tried = path.clone();
        let tried = tokio::task::spawn_blocking(move || try_lock(&tried)).await.expect("does not panic");
        match tried {
            Ok(Some(file)) => return Ok(file),
            Ok(None) if Instant::now() < deadline => tokio::time::sleep(RETRY).await,
            Ok(None) => return Err(SourceError::Locked { path, seconds: WAIT_MAX.as_secs() }),
            Err(source) => return Err(SourceError::File { path, source }),
        }
    }
}

/// `None` when another process, or another handle of this one, has the lock.
fn try_lock(path: &Path) -> std::io::Result<Option<File>> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

/// Leads where no other process of this machine leads. Never completes.
pub(super) async fn hold_elections(root: PathBuf, holds: Arc<Holds>) {
    let mut changes = holds.changes();
    let mut locks: BTreeMap<String, File> = BTreeMap::new();
    loop {
        let mut elections = elections(&holds);
        locks.retain(|election, _| elections.contains(election));
        elections.retain(|election| !locks.contains_key(election));
        for election in elections {
            let path = root.join(format!("{ELECTION}{election}"));
            let tried = tokio::task::spawn_blocking(move || try_lock(&path)).await;
            match tried.expect("does not panic") {
                Ok(Some(lock)) => drop(locks.insert(election, lock)),
                Ok(None) => {}
                Err(error) => tracing::debug!("{}: no election of {election}: {error}", root.display()),
            }
        }
        announce(&holds, &locks);
        // The holds outlive their driver.
        let _ = tokio::time::timeout(CAMPAIGN, changes.changed()).await;
    }
}

fn elections(holds: &Holds) -> Vec<String> {
    let wanted = holds.wanted();
    let names = wanted.values().filter_map(|wanted| match &wanted.claim {
        Claim::Candidacy { election } => Some(election.clone()),
        Claim::Record { .. } => None,
    });
    names.collect()
}

/// A lock has no end; its term is renewed so that a driver that is stopped leads no more.
fn announce(holds: &Holds, locks: &BTreeMap<String, File>) {
    let until = Instant::now() + 4 * CAMPAIGN;
    for wanted in holds.wanted().values() {
        let leads = matches!(&wanted.claim, Claim::Candidacy { election } if locks.contains_key(election));
        wanted.until.send_if_modified(|known| {
            let turned = known.is_some() != leads;
            *known = leads.then_some(until);
            turned
        });
    }
}
