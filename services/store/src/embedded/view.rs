//! What reads see: one moment of the store, and its version.
//!
//! The committer creates views between two batches. fjall's own snapshots may be taken at any time,
//! but a flush that ends while a batch is applied lets them see half of the batch (lsm-tree's
//! `SuperVersions::upgrade_version` raises the visible sequence number past the batch's).
//!
//! Invariant: a view's data are exactly those of its version, and all of them are as durable as
//! configured.

use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use fjall::{Keyspace, Readable};

use super::{directory::Engine, recent::Recent};
use crate::{
    error::{Error, StoreError},
    range::KeyValue,
};

/// One moment of the store.
pub(crate) struct View {
    snapshot: fjall::Snapshot,
    keyspace: Keyspace,
    recent: Recent,
    /// The version of its last commit.
    pub(crate) version: u64,
}

impl View {
    /// A view of `version`, which must be the last one written to `engine`.
    pub(crate) fn newest(engine: &Engine, version: u64, recent: Recent) -> Self {
        let (snapshot, keyspace) = (engine.database.snapshot(), engine.keyspace.clone());
        Self { snapshot, keyspace, recent, version }
    }

    /// The value of `key`.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let value = self.snapshot.get(&self.keyspace, key).map_err(read_failed)?;
        Ok(value.map(Bytes::from))
    }

    /// The rows from `begin` to before `end`; `begin` must be before `end`. With `written_after`,
    /// all of them were written by commits after that version: when no such commit wrote to the
    /// range, the engine, which looks into every file, is not asked.
    pub(crate) fn scan(
        &self,
        begin: &[u8],
        end: &[u8],
        written_after: Option<u64>,
    ) -> impl DoubleEndedIterator<Item = Result<KeyValue, Error>> + use<> {
        let none = written_after.is_some_and(|version| self.recent.is_untouched(version, begin, end));
        let rows = (!none).then(|| self.snapshot.range(&self.keyspace, begin..end));
        rows.into_iter().flatten().map(|row| {
            let (key, value) = row.into_inner().map_err(read_failed)?;
            Ok(KeyValue { key: key.into(), value: value.into() })
        })
    }

    /// All rows, also the store's own.
    pub(crate) fn all(&self) -> impl Iterator<Item = fjall::Result<fjall::KvPair>> + use<> {
        self.snapshot.iter(&self.keyspace).map(fjall::Guard::into_inner)
    }

    /// The keys from `begin` to before `end`; `begin` must be before `end`.
    pub(crate) fn keys(
        &self,
        begin: &[u8],
        end: &[u8],
    ) -> impl Iterator<Item = Result<Bytes, Error>> + use<> {
        let rows = self.snapshot.range(&self.keyspace, begin..end);
        rows.map(|row| row.key().map(Bytes::from).map_err(read_failed))
    }
}

/// The newest view, shared by all threads.
pub(crate) struct Views {
    newest: RwLock<Arc<View>>,
}

impl Views {
    pub(crate) fn new(first: View) -> Self {
        Self { newest: RwLock::new(Arc::new(first)) }
    }

    /// The newest view, which has every commit that was acknowledged before this call.
    pub(crate) fn newest(&self) -> Arc<View> {
        // Nothing can panic under this lock.
        Arc::clone(&self.newest.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes `view` the newest.
    pub(crate) fn publish(&self, view: View) {
        let view = Arc::new(view);
        let mut newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *newest, view);
        drop(newest);
        // Dropped outside the lock, because closing a snapshot may free many others.
        drop(old);
    }
}

fn read_failed(error: fjall::Error) -> Error {
    StoreError::Read(Box::new(error)).into()
}
