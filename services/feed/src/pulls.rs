//! The intervals in which a member follows large owners, whose entries are merged when the feed is
//! read.
//!
//! Owns the value of `pull` rows, and the row with the time of their last change. Invariant: every
//! write of a `pull` row also writes that row; `begun` and `ended` count the entries that the other
//! had posted at a position, read so that no entry can come between. So entries are counted without
//! reading them.

use store::{Error, Position, Snapshot, Transaction, limits::STAMP_BYTES};

use crate::feeds::{Feeds, number};
use crate::unread::UNREAD_MAX;

/// A placeholder that the commit replaces by its versionstamp.
const STAMP_HERE: [u8; STAMP_BYTES + 4] = [0; STAMP_BYTES + 4];

/// Most entries read when a mark is set at an old position. Bounds the time that it occupies its
/// worker.
const READ_MAX: u64 = 10 * UNREAD_MAX;

/// Bytes of a count.
const COUNT_BYTES: usize = size_of::<u64>();

/// An interval in which a member follows a large owner.
pub(crate) struct Pull {
    pub(crate) key: bytes::Bytes,
    pub(crate) other: String,
    /// The interval covers entries after this position.
    pub(crate) since: Position,
    /// The interval covers entries before this position.
    pub(crate) until: Position,
    /// Entries that `other` had posted when the interval began, or up to the owner's read mark.
    begun: u64,
    /// Entries that `other` had posted when the interval ended; `None` for an open interval.
    pub(crate) ended: Option<u64>,
}

impl Pull {
    fn of(other: String, row: &store::KeyValue) -> Self {
        let since = Position::of_key(&row.key);
        let (begun, end) = row.value.split_at_checked(COUNT_BYTES).unwrap_or_default();
        let (ended, until) = end.split_at_checked(COUNT_BYTES).unwrap_or_default();
        Self {
            key: row.key.clone(),
            other,
            since,
            until: Position::from_prefix(until).unwrap_or(Position::LAST),
            begun: count(begun),
            ended: (!ended.is_empty()).then(|| count(ended)),
        }
    }

    /// Unread entries of the interval when `other` has posted `posted` entries.
    pub(crate) fn unread(&self, posted: u64) -> u64 {
        self.ended.unwrap_or(posted).saturating_sub(self.begun)
    }

    /// The value of an open row when the first `posted` entries are read or before the interval.
    pub(crate) fn opened(posted: u64) -> [u8; COUNT_BYTES] {
        posted.to_le_bytes()
    }

    /// The value of a row that ends with this commit, to be stamped; `other` has posted `posted`
    /// entries.
    pub(crate) fn closed(&self, posted: u64) -> Vec<u8> {
        let stamp_at = u32::try_from(2 * COUNT_BYTES).expect("a few bytes").to_le_bytes();
        [&self.begun.to_le_bytes()[..], &posted.to_le_bytes(), &[0; STAMP_BYTES], &stamp_at].concat()
    }

    /// The value when the first `posted` entries are read; `None` when the row does not change.
    fn read_to(&self, posted: u64) -> Option<Vec<u8>> {
        let ended = self.ended.map(|ended| [&ended.to_le_bytes()[..], self.until.as_bytes()].concat());
        (posted > self.begun).then(|| [&posted.to_le_bytes()[..], &ended.unwrap_or_default()].concat())
    }
}

fn count(bytes: &[u8]) -> u64 {
    bytes.first_chunk().copied().map_or(0, u64::from_le_bytes)
}

impl Feeds {
    /// All intervals of `owner`.
    pub(crate) async fn pulls(&self, snapshot: Snapshot<'_>, owner: &str) -> Result<Vec<Pull>, Error> {
        let rows = snapshot.range(self.keys.pulls_of(owner)).await?;
        Ok(rows.iter().map(|row| Pull::of(self.keys.pulled_of(&row.key), row)).collect())
    }

    /// The intervals in which `owner` follows `other`.
    pub(crate) async fn pulls_with(
        &self,
        transaction: &Transaction,
        owner: &str,
        other: &str,
    ) -> Result<Vec<Pull>, Error> {
        let rows = transaction.range(self.keys.pulls_between(owner, other)).await?;
        Ok(rows.iter().map(|row| Pull::of(other.to_owned(), row)).collect())
    }

    /// Marks as read what large owners posted at and before `position`.
    pub(crate) async fn mark_pulls(
        &self,
        transaction: &Transaction,
        owner: &str,
        position: Position,
    ) -> Result<(), Error> {
        // Read with a conflict check: a row that ends in between must not be written as an open
        // one.
        let rows = transaction.range(self.keys.pulls_of(owner)).await?;
        let (mut changed, mut left) = (false, READ_MAX);
        for row in rows {
            let pull = Pull::of(self.keys.pulled_of(&row.key), &row);
            if position <= pull.since || pull.ended.is_some_and(|ended| ended <= pull.begun) {
                continue;
            }
            let snapshot = transaction.snapshot();
            let mut read = match pull.ended {
                Some(ended) => ended,
                None => number(snapshot.get(&self.keys.posted(&pull.other)).await?.as_ref()),
            };
            // Counted from the end, where nothing is left when all is read. One more than the
            // number that is shown.
            let unread = read.saturating_sub(pull.begun).min(UNREAD_MAX + 1);
            let newer = self.keys.own_between(&pull.other, position, pull.until);
            let mut newer = snapshot.rows(newer.limit(usize::try_from(unread).unwrap_or(usize::MAX)));
            while newer.next().await?.is_some() {
                read -= 1;
                left -= 1;
                if left == 0 {
                    // The remaining rows count as unread, which already exceeds the number that is
                    // shown.
                    return if changed { self.touch_pulls(transaction, owner) } else { Ok(()) };
                }
            }
            if let Some(value) = pull.read_to(read) {
                transaction.set(&pull.key, &value)?;
                changed = true;
            }
        }
        if changed { self.touch_pulls(transaction, owner) } else { Ok(()) }
    }

    /// Records that this transaction changes `pull` rows of `owner`, so that caches read them
    /// again.
    pub(crate) fn touch_pulls(&self, transaction: &Transaction, owner: &str) -> Result<(), Error> {
        transaction.set_versionstamped_value(&self.keys.pulls_changed(owner), &STAMP_HERE)
    }
}
