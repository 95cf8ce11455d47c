//! The intervals in which a member follows large owners, whose entries are merged when the feed is
//! read.
//!
//! Owns reading and writing `pull` rows, and the row with the time of their last change. `interval`
//! has the rows' form. Invariant: every write of a `pull` row also writes that row; `begun` and
//! `ended` count the entries that the other had posted at a position, read so that no entry can
//! come between. So entries are counted without reading them.

use store::{Error, Position, Snapshot, Transaction, limits::STAMP_BYTES};

use crate::counter::{Changes, UNREAD_MAX, number};
use crate::feeds::Feeds;
use crate::interval::Interval;

/// A placeholder that the commit replaces by its versionstamp.
const STAMP_HERE: [u8; STAMP_BYTES + 4] = [0; STAMP_BYTES + 4];

/// Most entries read when a mark is set at an old position. Bounds the time that it occupies its
/// worker.
const READ_MAX: u64 = 10 * UNREAD_MAX;

impl Feeds {
    /// All intervals of `owner`.
    pub(crate) async fn pulls(&self, snapshot: Snapshot<'_>, owner: &str) -> Result<Vec<Interval>, Error> {
        let rows = snapshot.range(self.keys.pulls_of(owner)).await?;
        Ok(rows.iter().map(|row| Interval::of(self.keys.pulled_of(&row.key), row)).collect())
    }

    /// The intervals in which `owner` follows `other`.
    pub(crate) async fn pulls_with(
        &self,
        transaction: &Transaction,
        owner: &str,
        other: &str,
    ) -> Result<Vec<Interval>, Error> {
        let rows = transaction.range(self.keys.pulls_between(owner, other)).await?;
        Ok(rows.iter().map(|row| Interval::of(other.to_owned(), row)).collect())
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
            let pull = Interval::of(self.keys.pulled_of(&row.key), &row);
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
        transaction.set_versionstamped_value(&self.keys.pulls_changed(owner), &STAMP_HERE)?;
        transaction.add(&self.keys.changes(owner), &Changes::PULLS.to_bytes())
    }
}
