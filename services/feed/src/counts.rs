//! How many entries large owners have posted, at the newest version that was read.
//!
//! Owns a cache of counters that many feeds need at the same moment. Invariant: all counters are of
//! one version.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use store::{Error, Snapshot};

use crate::counter::number;

/// Counters by owner.
#[derive(Default)]
pub(crate) struct Counts {
    newest: Mutex<(u64, HashMap<String, u64>)>,
}

impl Counts {
    /// The counter of `other`, whose row is `key`, at the moment of `snapshot`, whose version is
    /// `version`.
    pub(crate) async fn get(
        &self,
        snapshot: Snapshot<'_>,
        version: u64,
        other: &str,
        key: impl FnOnce() -> Vec<u8>,
    ) -> Result<u64, Error> {
        if let Some(count) = self.known(version, other) {
            return Ok(count);
        }
        let count = number(snapshot.get(&key()).await?.as_ref());
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let (newest_version, counts) = &mut *newest;
        if *newest_version < version {
            *newest_version = version;
            counts.clear();
        }
        if *newest_version == version {
            counts.insert(other.to_owned(), count);
        }
        Ok(count)
    }

    fn known(&self, version: u64, other: &str) -> Option<u64> {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.1.get(other).copied().filter(|_| newest.0 == version)
    }
}
