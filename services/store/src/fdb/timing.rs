//! The time that read versions take, for the counters.
//!
//! FoundationDB's client requests a version inside the first read and does not tell when it came,
//! so some attempts ask for it too. Invariant: timing delays no read, because the reads of an
//! attempt wait for the same version.

use std::{cell::Cell, pin::Pin, time::Instant};

use foundationdb::{FdbResult, Transaction};

use crate::counters::{self, Counter};

/// One in this many read versions is timed, because the client has to answer each twice then.
const TIMED_EVERY: u8 = 16;

type Version = Pin<Box<dyn Future<Output = FdbResult<i64>>>>;

/// The version of one attempt, while it is timed.
#[derive(Default)]
pub(super) struct Timing(Cell<Option<(Instant, Version)>>);

impl Timing {
    /// Counts a read version, which the next read of `transaction` requests.
    pub(super) fn begin(&self, transaction: &Transaction) {
        counters::add(Counter::ReadVersions, 1);
        let timed = fastrand::u8(..TIMED_EVERY) == 0;
        self.0.set(timed.then(|| (Instant::now(), Box::pin(transaction.get_read_version()) as Version)));
    }

    /// Waits for the version if it is timed. Called after the read was sent.
    pub(super) async fn end(&self) {
        if let Some((begun, version)) = self.0.take()
            && version.await.is_ok()
        {
            counters::add(Counter::ReadVersionsTimed, 1);
            counters::add_time(Counter::ReadVersionTime, begun.elapsed());
        }
    }

    /// The attempt ended.
    pub(super) fn forget(&self) {
        self.0.set(None);
    }
}
