//! Keys that this process holds under its lease, and the elections in which it is a candidate.
//!
//! Owns the list of what is to be held, and the handles by which callers add, change and release.
//! Leaves keeping the keys in the store to the driver of the source. Invariant: a dropped handle is
//! off the list; a term that has passed its end is no term, also when the driver is stuck.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use tokio::sync::watch;

use crate::document::Key;

/// What is to be held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// A record, written again when it is deleted.
    Record { key: Key, document: Arc<str> },
    /// A candidacy.
    Candidacy { election: String },
}

/// One claim and who wants to know what becomes of it.
pub(crate) struct Wanted {
    pub(crate) claim: Claim,
    pub(crate) until: watch::Sender<Option<Instant>>,
}

/// The list of one source.
#[derive(Default)]
pub(crate) struct Holds {
    wanted: Mutex<BTreeMap<u64, Wanted>>,
    /// Counts changes of the list; also the source of ids.
    changes: watch::Sender<u64>,
}

/// A record that stays in etcd for as long as this handle and the process live.
pub struct Hold {
    holds: Arc<Holds>,
    id: u64,
    until: watch::Receiver<Option<Instant>>,
}

/// A candidacy in an election; dropping it resigns.
pub struct Election(Hold);

impl Holds {
    pub(crate) fn add(self: &Arc<Self>, claim: Claim) -> Hold {
        let (sender, until) = watch::channel(None);
        let id = self.change(|wanted, id| {
            wanted.insert(id, Wanted { claim, until: sender });
        });
        Hold { holds: Arc::clone(self), id, until }
    }

    /// Completes when the list has changed since the receiver last looked.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(crate) fn wanted(&self) -> MutexGuard<'_, BTreeMap<u64, Wanted>> {
        self.wanted.lock().expect("no holder of the lock panics")
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<u64, Wanted>, u64)) -> u64 {
        let id = *self.changes.borrow() + 1;
        let mut wanted = self.wanted();
        // Another thread may have taken the number.
        let id = wanted.last_key_value().map_or(id, |(last, _)| id.max(last + 1));
        change(&mut wanted, id);
        drop(wanted);
        self.changes.send_modify(|changes| *changes = id.max(*changes + 1));
        id
    }
}

impl Hold {
    /// Changes what the record holds.
    pub fn set(&self, document: &str) {
        self.holds.change(|wanted, _| {
            let wanted = wanted.get_mut(&self.id).expect("this handle removes it");
            if let Claim::Record { document: known, .. } = &mut wanted.claim {
                *known = document.into();
            }
        });
    }

    /// True while the key is in etcd as far as this process knows and its lease has not ended.
    pub fn is_held(&self) -> bool {
        self.until.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Completes when [`Hold::is_held`] may have changed.
    ///
    /// # Cancel safety
    /// Cancel safe: a change is not lost.
    pub async fn changed(&mut self) {
        if self.until.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.holds.change(|wanted, _| {
            wanted.remove(&self.id);
        });
    }
}

impl Election {
    pub(crate) fn new(hold: Hold) -> Self {
        Self(hold)
    }

    /// True while no other candidate can believe that it leads. Ask before each act of a leader: it
    /// turns false by itself when the lease ends, also when etcd does not answer.
    pub fn is_leader(&self) -> bool {
        self.0.is_held()
    }

    /// Completes when [`Election::is_leader`] may have changed, for the end of a lease too.
    ///
    /// # Cancel safety
    /// Cancel safe: a change is not lost.
    pub async fn changed(&mut self) {
        self.0.changed().await;
    }
}
