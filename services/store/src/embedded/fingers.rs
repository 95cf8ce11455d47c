//! Where reversed scans ended. The next scan of the same range begins there and reads forward.
//!
//! The engine's table of recent writes is a skip list linked forward only: a step back is a search
//! from its head, a step forward is one pointer. This is a finger search whose finger is kept
//! between scans.
//!
//! Invariant: a finger is a hint. Any key, even that of another range, gives the same rows.

use std::{
    borrow::Cow,
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::{Mutex, PoisonError},
};

use super::{merge::Bounds, view::View};
use crate::{error::Error, range::KeyValue};

/// Ranges that are remembered; a further range may replace one.
const SLOTS: usize = 16 * 1024;

/// Scans of fewer rows do not justify a second iterator.
const ROWS_MIN: usize = 4;

/// New rows after the finger that are read before the scan is done without the finger.
const ROWS_MORE: usize = 64;

/// The last keys of reversed scans.
pub(crate) struct Fingers {
    keys: Box<[Mutex<Vec<u8>>]>,
    hasher: RandomState,
}

impl Default for Fingers {
    fn default() -> Self {
        Self { keys: (0..SLOTS).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }
}

/// All rows, if there are not many more than `bounds` requests.
fn few(
    rows: impl Iterator<Item = Result<KeyValue, Error>>,
    bounds: Bounds,
) -> Option<Vec<Result<KeyValue, Error>>> {
    let (mut few, mut bytes) = (Vec::new(), 0);
    for row in rows {
        bytes += row.as_ref().map_or(0, |row| row.key.len() + row.value.len());
        if few.len() >= bounds.rows_max.saturating_add(ROWS_MORE) || bytes > 2 * bounds.bytes_max {
            return None;
        }
        few.push(row);
    }
    Some(few)
}

impl Fingers {
    /// The rows of `view` from before `end` back to `begin`, as many as `bounds` requests. `begin`
    /// must be before `end`.
    pub(crate) fn scan<'v>(
        &self,
        view: &'v View,
        (begin, end): (&'v [u8], &'v [u8]),
        written_after: Option<u64>,
        bounds: Bounds,
    ) -> impl Iterator<Item = Result<KeyValue, Error>> + use<'v> {
        let (mut near, mut rest_end) = (Vec::new(), Cow::Borrowed(end));
        if let Some(finger) = self.known(begin, end, bounds.rows_max)
            && let Some(rows) = few(view.scan(&finger, end, written_after), bounds)
        {
            near = rows;
            rest_end = Cow::Owned(finger);
        }
        let rest = move || {
            let rows = (begin < &rest_end[..]).then(|| view.scan(begin, &rest_end, written_after).rev());
            rows.into_iter().flatten()
        };
        near.into_iter().rev().chain(std::iter::once_with(rest).flatten())
    }

    /// Records that a scan of at most `rows_max` rows back from `end` ended at `last`.
    pub(crate) fn remember(&self, end: &[u8], rows_max: usize, last: &[u8]) {
        if rows_max < ROWS_MIN {
            return;
        }
        let mut key = self.slot(end, rows_max).lock().unwrap_or_else(PoisonError::into_inner);
        if *key != last {
            key.clear();
            key.extend_from_slice(last);
        }
    }

    /// The key to begin with, if it is inside the range.
    fn known(&self, begin: &[u8], end: &[u8], rows_max: usize) -> Option<Vec<u8>> {
        if rows_max < ROWS_MIN {
            return None;
        }
        let key = self.slot(end, rows_max).lock().unwrap_or_else(PoisonError::into_inner);
        (!key.is_empty() && &key[..] < end).then(|| begin.max(&key[..]).to_vec())
    }

    /// Scans of different lengths end at different keys, so they have different slots.
    fn slot(&self, end: &[u8], rows_max: usize) -> &Mutex<Vec<u8>> {
        let hash = self.hasher.hash_one((end, rows_max));
        &self.keys[usize::try_from(hash % SLOTS as u64).expect("less than the slots")]
    }
}
