//! One lease for this process, and what it holds: listeners, counts, candidacies.
//!
//! Owns granting and renewing the lease, and writing what is held again when its key was deleted or
//! the lease has ended. Leaves being told of deletions to `follow`, by way of the board. Invariant:
//! a term ends, by this process' clock, before etcd can end its lease: it is counted from the
//! sending of the last renewal that was answered.
//!
//! An election is that of etcd's concurrency package (`clientv3/concurrency/election.go`): each
//! candidate has a key under its lease, and the one with the lowest create revision leads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::client::CallError;
use super::store::Store;
use crate::document::{Document, Key, Kind, Plan, Revision};
use crate::source::backoff::Backoff;
use crate::source::board::Board;
use crate::source::hold::{Claim, Holds};

/// A lease and what was written under it.
struct Session<'a> {
    store: &'a Store,
    board: &'a Board,
    holds: &'a Holds,
    lease: i64,
    ttl: Duration,
    /// Until when etcd keeps the lease, at least.
    until: Instant,
    /// By the claim's id.
    written: BTreeMap<u64, Written>,
    /// [`State::wipes`](crate::source::board::State::wipes) when `written` was true.
    wipes: u64,
}

struct Written {
    name: String,
    document: Arc<str>,
    revision: Revision,
}

/// The lease has ended.
struct Ended;

/// Holds what is on the list. `lease` is the present one, or 0. Never completes.
pub(in crate::source) async fn hold(
    store: Store,
    board: Arc<Board>,
    holds: Arc<Holds>,
    lease: Arc<AtomicI64>,
) {
    let mut changes = holds.changes();
    let mut backoff = Backoff::new();
    loop {
        while holds.wanted().is_empty() {
            // The list outlives this task.
            let _ = changes.changed().await;
        }
        let sent = Instant::now();
        match store.grant(store.client.times.lease.as_secs()).await {
            Ok(granted) => {
                backoff = Backoff::new();
                lease.store(granted.id, Ordering::Relaxed);
                let ttl = Duration::from_secs(granted.ttl.unsigned_abs());
                tracing::debug!("lease {:x} of {ttl:?}", granted.id);
                let mut session = Session {
                    store: &store,
                    board: &board,
                    holds: &holds,
                    lease: granted.id,
                    ttl,
                    until: sent + ttl,
                    written: BTreeMap::new(),
                    wipes: board.state().wipes,
                };
                let Ended = session.keep().await;
                lease.store(0, Ordering::Relaxed);
                session.announce(&Plan::default());
                tracing::info!("the lease {:x} has ended: what it held is published anew", granted.id);
            }
            Err(error) => {
                tracing::debug!("no lease: {error}");
                backoff.wait().await;
            }
        }
    }
}

/// Gives the lease back, if there is one, and with it what it holds.
pub(in crate::source) async fn end(store: &Store, lease: i64) {
    if lease != 0
        && let Err(error) = store.revoke(lease).await
    {
        tracing::debug!("the lease ends by itself: {error}");
    }
}

impl Session<'_> {
    async fn keep(&mut self) -> Ended {
        let (mut changes, mut records) = (self.holds.changes(), self.board.records());
        changes.mark_changed();
        let mut renew = self.until - self.ttl * 2 / 3;
        let mut retry = None;
        loop {
            let next = retry.unwrap_or(renew).min(renew);
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                // Neither sender is dropped before this task.
                _ = changes.changed() => {}
                _ = records.changed() => {}
            }
            // At once: a leader whose key is gone leads no more, whatever the next request takes.
            self.announce(&records.borrow_and_update());
            if Instant::now() >= renew {
                match self.renew().await {
                    Ok(next) => renew = next,
                    Err(ended) => return ended,
                }
                self.announce(&records.borrow_and_update());
            }
            let known = Arc::clone(&records.borrow_and_update());
            if retry.is_none_or(|retry| Instant::now() >= retry) {
                retry = match self.publish(&known).await {
                    Ok(()) => None,
                    Err(error) if error.is_lease_unknown() => return Ended,
                    Err(error) => {
                        tracing::debug!("not published yet: {error}");
                        Some(Instant::now() + self.ttl / 10)
                    }
                };
            }
        }
    }

    /// Renews the lease. Returns when to do it next.
    async fn renew(&mut self) -> Result<Instant, Ended> {
        let sent = Instant::now();
        match self.store.keep_alive(self.lease).await {
            Ok(renewed) if renewed.ttl > 0 => {
                self.until = sent + self.ttl;
                Ok(sent + self.ttl / 3)
            }
            Ok(_) => Err(Ended),
            // The lease may have lasted: etcd extends leases by its own time away.
            Err(error) if !error.is_lease_unknown() => {
                tracing::debug!("the lease is not renewed: {error}");
                Ok(Instant::now() + self.ttl / 10)
            }
            Err(_) => Err(Ended),
        }
    }

    /// Writes what is not in etcd as it should be, and removes what is no longer held.
    async fn publish(&mut self, records: &Plan) -> Result<(), CallError> {
        let state = self.board.state();
        if state.wipes != self.wipes {
            self.wipes = state.wipes;
            self.written.clear();
        }
        let wanted = self.wanted();
        let released: Vec<u64> = self.written.keys().filter(|id| !wanted.contains_key(id)).copied().collect();
        for id in released {
            self.store.remove(&self.written[&id].name).await?;
            self.written.remove(&id);
        }
        for (id, (key, document)) in wanted {
            let present = records.document(&key).is_some_and(|found| found.lease == self.lease);
            let written = self.written.get(&id).is_some_and(|written| {
                // Its deletion is seen only when the board is as new as the writing.
                written.document == document && (present || state.revision < written.revision)
            });
            if !written {
                let name = key.to_string();
                let revision = self.store.put_leased(&name, &document, self.lease).await?;
                self.written.insert(id, Written { name, document, revision });
            }
        }
        Ok(())
    }

    /// The key and the document of each claim.
    fn wanted(&self) -> BTreeMap<u64, (Key, Arc<str>)> {
        let wanted = self.holds.wanted();
        let each = wanted.iter().map(|(id, wanted)| match &wanted.claim {
            Claim::Record { key, document } => (*id, (key.clone(), Arc::clone(document))),
            Claim::Candidacy { election } => (*id, (self.candidate(election), "{}".into())),
        });
        each.collect()
    }

    fn candidate(&self, election: &str) -> Key {
        let lease = format!("{:x}", self.lease);
        Key::new(Kind::Candidate, &[election, &lease]).expect("the election's name was checked")
    }

    /// Tells the holders what is held.
    fn announce(&self, records: &Plan) {
        for wanted in self.holds.wanted().values() {
            let ours = match &wanted.claim {
                Claim::Record { key, .. } => records.document(key).map(Arc::as_ref),
                Claim::Candidacy { election } => leader(records, election),
            };
            let held = ours.is_some_and(|found| found.lease == self.lease) && Instant::now() < self.until;
            wanted.until.send_if_modified(|known| {
                let turned = known.is_some() != held;
                *known = held.then_some(self.until.into_std());
                turned
            });
        }
    }
}

/// The candidate that leads. Candidates that this process does not know of yet have higher create
/// revisions than its own.
fn leader<'a>(records: &'a Plan, election: &str) -> Option<&'a Document> {
    let candidates = records.of(Kind::Candidate).filter(|(key, _)| key.name() == election);
    candidates.map(|(_, candidate)| &**candidate).min_by_key(|candidate| candidate.created)
}
