//! The kinds of request, and how our store does them.
//!
//! Owns the keys and the rows. Invariant: the rows that requests read exist and keep their length.

use anyhow::Result;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use store::{Range, RunOptions, Snapshot, Store, Subspace, Transaction, Versionstamp};

/// Rows that are read and overwritten.
const ROWS: u64 = 10_000;
/// Bytes of a row and of an event.
const ROW_BYTES: usize = 200;
/// Rows of a page.
pub(super) const PAGE_ROWS: usize = 20;
/// Keys of [`Work::GetFour`].
const KEYS: u64 = 4;
/// Events of [`Work::AppendBatch`].
const BATCH: u16 = 100;

/// Whatever requests are sent to.
pub(super) trait Subject: Clone + 'static {
    /// Does one request.
    async fn once(&self, work: Work) -> Result<()>;
}

/// What one request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Work {
    /// Reads one row
    Get,
    /// Reads four rows at once
    GetFour,
    /// Reads 20 rows that follow each other
    Page,
    /// Commits one row of 200 bytes
    Set,
    /// Commits one event of 200 bytes at the end of a log
    Append,
    /// Commits 100 such events
    AppendBatch,
}

impl Work {
    pub(crate) const ALL: [Self; 6] =
        [Self::Get, Self::GetFour, Self::Page, Self::Set, Self::Append, Self::AppendBatch];

    /// True when the request adds events to a log.
    pub(crate) const fn appends(self) -> bool {
        matches!(self, Self::Append | Self::AppendBatch)
    }

    /// What is counted: requests, and for batches events.
    pub(super) const fn rows(self) -> u64 {
        match self {
            Self::AppendBatch => BATCH as u64,
            _ => 1,
        }
    }

    /// The name in the table.
    pub(super) const fn described(self) -> &'static str {
        match self {
            Self::Get => "point reads",
            Self::GetFour => "reads of 4 keys at once",
            Self::Page => "pages of 20 rows",
            Self::Set => "commits of one row",
            Self::Append => "events, one a commit",
            Self::AppendBatch => "events, 100 a commit",
        }
    }
}

/// The key of a row that exists.
pub(super) fn some_key() -> Vec<u8> {
    key(fastrand::u64(..ROWS))
}

/// Keys of rows that exist.
pub(super) fn some_keys() -> Vec<Vec<u8>> {
    (0..KEYS).map(|_| some_key()).collect()
}

/// The value of a row or of an event.
pub(super) const fn value() -> [u8; ROW_BYTES] {
    [b'x'; ROW_BYTES]
}

/// The first key after a page's rows.
pub(super) fn rows_end() -> Vec<u8> {
    rows().range().1
}

/// The keys of a request's events, whose versionstamps the commit fills in.
pub(super) fn new_events(work: Work) -> impl Iterator<Item = Vec<u8>> {
    let log = log();
    let count = if work == Work::AppendBatch { BATCH } else { 1 };
    (0..count).map(move |at| log.pack_with_versionstamp(&(Versionstamp::incomplete(at),)))
}

/// Writes the rows.
pub(crate) async fn fill(store: &Store) -> Result<()> {
    let rows: Vec<u64> = (0..ROWS).collect();
    for chunk in rows.chunks(1000) {
        let fill = async |transaction: &Transaction| {
            chunk.iter().try_for_each(|row| transaction.set(&key(*row), &value()))
        };
        store.run(&RunOptions::default().idempotent(), fill).await?;
    }
    Ok(())
}

/// Removes the events.
pub(super) async fn clear_log(store: &Store) -> Result<()> {
    let (begin, end) = log().range();
    let clear = async |transaction: &Transaction| transaction.clear_range(&begin, &end);
    Ok(store.run(&RunOptions::default().idempotent(), clear).await?)
}

/// Events in the log, at most a thousand.
#[cfg(test)]
pub(super) async fn log_len(store: &Store) -> Result<usize> {
    let range = Range::subspace(&log()).limit(1000);
    let read = async |snapshot: Snapshot<'_>| snapshot.range(range.clone()).await;
    Ok(store.read(&RunOptions::default(), read).await?.len())
}

impl Subject for Store {
    async fn once(&self, work: Work) -> Result<()> {
        // An append that is repeated after an unknown commit adds the events once more.
        let options = RunOptions::default().idempotent();
        match work {
            Work::Get => drop(self.get(&some_key()).await?),
            Work::GetFour => {
                let keys = some_keys();
                self.read(&options, async |snapshot| snapshot.get_all(&keys).await.map(drop)).await?;
            }
            Work::Page => {
                let page = Range::between(some_key(), rows_end()).limit(PAGE_ROWS);
                let read = async |snapshot: Snapshot<'_>| snapshot.range(page.clone()).await.map(drop);
                self.read(&options, read).await?;
            }
            Work::Set => {
                let (key, value) = (some_key(), value());
                self.run(&options, async |transaction| transaction.set(&key, &value)).await?;
            }
            Work::Append | Work::AppendBatch => {
                let value = value();
                let append = async |transaction: &Transaction| {
                    new_events(work).try_for_each(|key| transaction.set_versionstamped_key(&key, &value))
                };
                self.run(&options, append).await?;
            }
        }
        Ok(())
    }
}

fn key(row: u64) -> Vec<u8> {
    rows().pack(&(row,))
}

fn rows() -> Subspace {
    Subspace::from(("bench-store", "row"))
}

fn log() -> Subspace {
    Subspace::from(("bench-store", "log"))
}
