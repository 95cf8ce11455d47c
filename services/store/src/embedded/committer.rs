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
use tokio::sync::oneshot;

use super::{
    memtables::Memtables,
    mutation::{Mutation, add, stamped},
    queue::{Arrived, CommitQueue, CommitRequest, ReadRange},
    resolver::Resolver,
    rows::Rows,
    run::Run,
    view::{View, Views},
    watches::Watches,
    writing::Writing,
};
use crate::{
    counters::{self, Counter},
    error::{Error, RetryError, StoreError},
    limits,
};

/// Longest wait for work before the view is renewed. An old view keeps files that compaction has
/// replaced.
const IDLE: Duration = Duration::from_secs(1);

type Stamp = [u8; limits::STAMP_BYTES];

/// The committer's state.
pub(crate) struct Committer {
    writing: Writing,
    views: Arc<Views>,
    queue: Arc<CommitQueue>,
    watches: Arc<Watches>,
    rows: Arc<Rows>,
    memtables: Memtables,
    resolver: Resolver,
    version: u64,
    /// The keys of the group that failed; it may be in the engine when that is open again.
    failed: Option<Run>,
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
    pub(super) fn new(
        writing: Writing,
        version: u64,
        views: Arc<Views>,
        queue: Arc<CommitQueue>,
        watches: Arc<Watches>,
        rows: Arc<Rows>,
    ) -> Self {
        let engine = writing.engine().expect("the store was just opened");
        let memtables = Memtables::new(&engine.keyspace);
        let resolver = Resolver::new(version);
        Self { writing, views, queue, watches, rows, memtables, resolver, version, failed: None }
    }

    /// Commits until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        // When this thread panics, waiting commits and watches must end.
        let _abandon = Abandon(Arc::clone(&self.queue), Arc::clone(&self.watches));
        loop {
            match self.queue.take(IDLE) {
                Arrived::Group(requests) => self.commit(requests),
                Arrived::Idle => self.recover(),
                Arrived::Closed => break,
            }
            self.resolver.forget(Instant::now());
            self.memtables.renew();
        }
    }

    /// Opens the engine anew if it failed, and renews the view.
    fn recover(&mut self) {
        if let Some(version) = self.writing.reopened() {
            self.rows.forget_after(self.version);
            // One version more than any that was given, so that transactions that began before
            // try again: the resolver does not know whether the failed group was written.
            self.version = self.version.max(version) + 1;
            self.resolver = Resolver::new(self.version);
            let engine = self.writing.engine().expect("it was just opened");
            self.memtables = Memtables::new(&engine.keyspace);
        }
        self.publish(self.version);
        if self.writing.failed().is_none()
            && let Some(run) = self.failed.take()
        {
            self.watches.written(run.keys(), |key| self.views.newest().get(key));
        }
    }

    fn commit(&mut self, requests: Vec<CommitRequest>) {
        if self.writing.failed().is_some() {
            self.recover();
        }
        let bytes = requests.iter().map(|request| request.bytes as u64).sum();
        let writable = match self.writing.failed() {
            Some(reason) => Err(reason.to_owned()),
            None => self.writing.check_space(bytes),
        };
        if let Err(reason) = writable {
            counters::add(Counter::Unwritable, requests.len() as u64);
            let replies = requests.into_iter().map(|request| request.reply);
            return refuse(replies, || StoreError::Unwritable { reason: reason.clone() });
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
        for (key, value) in &group.written {
            self.rows.wrote(group.version, key, value.as_deref());
        }
        if let Err(error) = self.writing.write(group.version, group.written) {
            tracing::error!(%error, "the store failed to write, and takes no writes until it succeeds again");
            counters::add(Counter::WriteFailures, 1);
            let reason = self.writing.failed().unwrap_or_default().to_owned();
            self.failed = Some(run);
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
        if let Some(view) = self.writing.view(version, self.resolver.recent()) {
            self.views.publish(view);
        }
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
