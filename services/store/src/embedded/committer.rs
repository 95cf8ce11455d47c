//! The only thread that writes.
//!
//! Takes all waiting commits, checks them one after the other, and writes those that pass as one
//! batch of the engine with one `fdatasync`, however many are waiting. All commits of a group have
//! one version; their order within it is the last part of their versionstamp, as in FoundationDB.
//!
//! Invariant: a group is durable before its view is published, and its view is published before any
//! of its commits is acknowledged.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use fjall::{Database, Keyspace, OwnedWriteBatch as WriteBatch, PersistMode};
use tokio::sync::oneshot;

use super::{
    directory::{Directory, VERSION_KEY},
    memtables::Memtables,
    mutation::{Mutation, add, stamped},
    queue::{Arrived, CommitQueue, CommitRequest, ReadRange},
    resolver::Resolver,
    rows::Rows,
    run::Run,
    view::{View, Views},
    watches::Watches,
};
use crate::{
    address::Durability,
    error::{Error, RetryError, StoreError},
    limits,
};

/// Longest wait for work before the view is renewed. An old view keeps files that compaction has
/// replaced.
const IDLE: Duration = Duration::from_secs(1);

type Stamp = [u8; limits::STAMP_BYTES];

/// The committer's state.
pub(crate) struct Committer {
    database: Database,
    keyspace: Keyspace,
    persist: PersistMode,
    views: Arc<Views>,
    queue: Arc<CommitQueue>,
    watches: Arc<Watches>,
    rows: Arc<Rows>,
    memtables: Memtables,
    resolver: Resolver,
    version: u64,
    /// The reason why the store takes no more writes.
    failed: Option<String>,
}

/// The commits of a group that passed, and their combined writes.
struct Group {
    version: u64,
    view: Arc<View>,
    rows: Arc<Rows>,
    written: BTreeMap<Bytes, Option<Bytes>>,
    /// Ranges, for the resolver once the group is written.
    cleared: Vec<(Bytes, Bytes)>,
    accepted: Vec<(oneshot::Sender<Result<Stamp, Error>>, Stamp)>,
}

impl Committer {
    pub(crate) fn new(
        directory: &Directory,
        durability: Durability,
        views: Arc<Views>,
        queue: Arc<CommitQueue>,
        watches: Arc<Watches>,
        rows: Arc<Rows>,
    ) -> Self {
        Self {
            database: directory.database.clone(),
            keyspace: directory.keyspace.clone(),
            persist: match durability {
                Durability::Fsync => PersistMode::SyncData,
                Durability::Buffered => PersistMode::Buffer,
            },
            views,
            queue,
            watches,
            rows,
            memtables: Memtables::new(&directory.keyspace),
            resolver: Resolver::new(directory.version),
            version: directory.version,
            failed: None,
        }
    }

    /// Commits until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        // When this thread panics, waiting commits and watches must end.
        let _abandon = Abandon(Arc::clone(&self.queue), Arc::clone(&self.watches));
        loop {
            match self.queue.take(IDLE) {
                Arrived::Group(requests) => self.commit(requests),
                Arrived::Idle => self.publish(self.version),
                Arrived::Closed => break,
            }
            self.resolver.forget(Instant::now());
            self.memtables.renew();
        }
    }

    fn commit(&mut self, requests: Vec<CommitRequest>) {
        if let Some(reason) = &self.failed {
            let replies = requests.into_iter().map(|request| request.reply);
            return refuse(replies, || StoreError::WriteFailed { reason: reason.clone() });
        }
        let mut group = Group {
            version: self.version + 1,
            view: self.views.newest(),
            rows: Arc::clone(&self.rows),
            written: BTreeMap::new(),
            cleared: Vec::new(),
            accepted: Vec::new(),
        };
        let mut requests = requests.into_iter();
        while let Some(request) = requests.next() {
            let read_version = request.read_version.unwrap_or(group.version);
            let missed = read_version < group.version && group.wrote_any(&request.reads);
            let checked = match missed {
                true => Err(RetryError::Conflict),
                false => self.resolver.check(read_version, &request.reads),
            };
            if let Err(error) = checked {
                request.reply.send(Err(error.into())).ok();
                continue;
            }
            let stamp = group.next_stamp();
            if let Err(error) = group.apply(request.mutations, &stamp) {
                // Nothing of the group is written yet, so none of its commits took effect.
                let replies = group.accepted.into_iter().map(|(reply, _)| reply);
                let replies = replies.chain([request.reply]).chain(requests.map(|request| request.reply));
                let reason = Arc::new(error);
                return refuse(replies, || StoreError::Read(Box::new(Arc::clone(&reason))));
            }
            group.accepted.push((request.reply, stamp));
        }
        if !group.accepted.is_empty() {
            self.write(group);
        }
    }

    fn write(&mut self, group: Group) {
        let run = Run::new(group.version, group.written.keys().map(|key| &key[..]));
        // One more for the version.
        let batch = WriteBatch::with_capacity(self.database.clone(), group.written.len() + 1);
        let mut batch = batch.durability(Some(self.persist));
        for (key, value) in group.written {
            self.rows.wrote(group.version, &key, value.as_deref());
            match value {
                Some(value) => batch.insert(&self.keyspace, key, value),
                None => batch.remove(&self.keyspace, key),
            }
        }
        batch.insert(&self.keyspace, VERSION_KEY, group.version.to_be_bytes());
        if let Err(error) = batch.commit() {
            tracing::error!(%error, "the store failed to write and takes no more writes");
            let reason = error.to_string();
            self.failed = Some(reason.clone());
            let replies = group.accepted.into_iter().map(|(reply, _)| reply);
            return refuse(replies, || StoreError::WriteFailed { reason: reason.clone() });
        }
        self.version = group.version;
        for (begin, end) in &group.cleared {
            self.resolver.wrote_range(group.version, begin, end);
        }
        let run = Arc::new(run);
        self.resolver.wrote(group.version, Arc::clone(&run), Instant::now());
        self.publish(group.version);
        for (reply, stamp) in group.accepted {
            reply.send(Ok(stamp)).ok();
        }
        self.watches.written(run.keys(), |key| self.views.newest().get(key));
    }

    fn publish(&self, version: u64) {
        let recent = self.resolver.recent();
        self.views.publish(View::newest(&self.database, &self.keyspace, version, recent));
    }
}

impl Group {
    fn next_stamp(&self) -> Stamp {
        let order = u16::try_from(self.accepted.len()).expect("a group has at most GROUP_LEN_MAX commits");
        let mut stamp = [0; limits::STAMP_BYTES];
        stamp[..8].copy_from_slice(&self.version.to_be_bytes());
        stamp[8..].copy_from_slice(&order.to_be_bytes());
        stamp
    }

    /// True when an earlier transaction of this group wrote something that `reads` contains.
    fn wrote_any(&self, reads: &[ReadRange]) -> bool {
        reads.iter().any(|read| match read {
            ReadRange::Key(key) => self.written.contains_key(key),
            ReadRange::Range(begin, end) => {
                begin < end && self.written.range::<Bytes, _>(begin..end).next().is_some()
            }
        })
    }

    /// Applies one transaction's writes, and keeps them for later transactions of the group.
    fn apply(&mut self, mutations: Vec<Mutation>, stamp: &Stamp) -> Result<(), Error> {
        for mutation in mutations {
            let (key, value) = match mutation {
                Mutation::Set { key, value } => (key, Some(value)),
                Mutation::Clear { key } => (key, None),
                Mutation::Add { key, operand } => {
                    let sum = add(self.value(&key)?.as_deref(), &operand);
                    (key, Some(sum))
                }
                Mutation::SetStampedKey { key, offset, value } => (stamped(key, offset, stamp), Some(value)),
                Mutation::SetStampedValue { key, value, offset } => {
                    (key, Some(stamped(value, offset, stamp)))
                }
                Mutation::ClearRange { begin, end } => {
                    self.clear_range(&begin, &end)?;
                    self.cleared.push((begin, end));
                    continue;
                }
            };
            self.written.insert(key, value);
        }
        Ok(())
    }

    fn value(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        match self.written.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.rows.get(&self.view, key),
        }
    }

    fn clear_range(&mut self, begin: &Bytes, end: &Bytes) -> Result<(), Error> {
        if begin >= end {
            return Ok(());
        }
        for (_, value) in self.written.range_mut(begin.clone()..end.clone()) {
            *value = None;
        }
        for key in self.view.keys(begin, end) {
            self.written.insert(key?, None);
        }
        Ok(())
    }
}

fn refuse(
    replies: impl Iterator<Item = oneshot::Sender<Result<Stamp, Error>>>,
    reason: impl Fn() -> StoreError,
) {
    for reply in replies {
        reply.send(Err(reason().into())).ok();
    }
}

struct Abandon(Arc<CommitQueue>, Arc<Watches>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.abandon();
        self.1.close();
    }
}
