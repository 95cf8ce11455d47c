//! Numbers in the store that commits add to without reading them, and waiting for one to change.
//!
//! Owns their form: 8 bytes, little-endian; a missing one is 0. Invariant: additions never
//! conflict with each other, so a number may belong to every transaction of a structure.

use std::time::Duration;

use bytes::Bytes;

use crate::{error::Error, transaction::Transaction, watch::Watch};

/// The longest wait for a change before the reader looks by itself: bounds the harm of a clock that
/// is set back.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Adds `delta`, unless it is 0.
pub(crate) fn add(tx: &Transaction, key: &[u8], delta: i64) -> Result<(), Error> {
    if delta == 0 {
        return Ok(());
    }
    tx.add(key, &delta.to_le_bytes())
}

/// The number in a value. Below 0, which no structure reaches, it counts as 0.
pub(crate) fn read(value: Option<&Bytes>) -> u64 {
    let number = value.and_then(|value| value.first_chunk().copied()).map_or(0, i64::from_le_bytes);
    u64::try_from(number).unwrap_or(0)
}

/// Waits until `changed` fires, `until_due` has passed, or [`WAIT_MAX`].
///
/// # Errors
/// As for [`Watch`].
pub(crate) async fn changed_or_due(changed: Watch, until_due: Option<Duration>) -> Result<(), Error> {
    let pause = until_due.map_or(WAIT_MAX, |due| due.min(WAIT_MAX));
    tokio::select! {
        fired = changed => fired,
        () = tokio::time::sleep(pause) => Ok(()),
    }
}
