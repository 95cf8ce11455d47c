//! How far each member has read.
//!
//! Owns the transactions on markers. Invariant: a member's marker never moves back, and appears
//! once in the list of changes, at its newest change.

use store::{Error, KeyValue, Position, RunOptions, Snapshot, Transaction, limits::STAMP_BYTES};

use crate::conversations::{Conversations, Marker};

/// Most markers in one answer.
pub(crate) const MARKERS_MAX: usize = 100;

impl Conversations {
    /// Marks everything up to `upto` as read, or everything when `upto` is `None`. Returns the
    /// commit's position when the marker moved.
    pub(crate) async fn mark_read(
        &self,
        chat: &str,
        member: &str,
        upto: Option<Position>,
        options: &RunOptions,
    ) -> Result<Option<Position>, Error> {
        let key = self.keys.read(chat, member);
        let work = async |transaction: &Transaction| {
            let (last, snapshot) = (self.keys.last(chat), transaction.snapshot());
            let (known, last) = tokio::try_join!(transaction.get(&key), snapshot.get(&last))?;
            let last = last.as_deref().and_then(Position::from_prefix).unwrap_or(Position::FIRST);
            let read = upto.unwrap_or(last).min(last);
            if read <= known.as_deref().and_then(Position::from_prefix).unwrap_or(Position::FIRST) {
                return Ok(None);
            }
            let changed = known.as_deref().and_then(|known| known.get(STAMP_BYTES..));
            if let Some(changed) = changed.and_then(Position::from_prefix) {
                transaction.clear(&self.keys.marked(chat, changed))?;
            }
            let offset = u32::try_from(STAMP_BYTES).expect("a stamp is short").to_le_bytes();
            let value = [&read.as_bytes()[..], &[0; STAMP_BYTES], &offset].concat();
            transaction.set_versionstamped_value(&key, &value)?;
            let listed = [&read.as_bytes()[..], member.as_bytes()].concat();
            transaction.set_versionstamped_key(&self.keys.new_marked(chat), &listed)?;
            self.touch(transaction, chat)?;
            Ok::<_, Error>(Some(transaction.versionstamp()))
        };
        match self.store.run(&options.idempotent(), work).await? {
            Some(stamp) => Ok(Some(stamp.await?.into())),
            None => Ok(None),
        }
    }

    /// The markers that changed last, at most [`MARKERS_MAX`], the newest change first.
    pub(crate) async fn newest_markers(
        &self,
        chat: &str,
        options: &RunOptions,
    ) -> Result<Vec<Marker>, Error> {
        let range = self.keys.marked_after(chat, Position::FIRST).reversed().limit(MARKERS_MAX);
        let rows = self.store.read(options, async |snapshot| snapshot.range(range.clone()).await).await?;
        Ok(rows.iter().map(|row| Marker::of(&row.value)).collect())
    }

    /// The rows of markers that changed after `after`, the oldest change first: one more than an
    /// answer holds.
    pub(crate) async fn marked_after(
        &self,
        snapshot: Snapshot<'_>,
        chat: &str,
        after: Position,
    ) -> Result<Vec<KeyValue>, Error> {
        snapshot.range(self.keys.marked_after(chat, after).limit(MARKERS_MAX + 1)).await
    }
}

impl Marker {
    /// The markers in rows of [`Conversations::marked_after`] that changed at most up to `upto`,
    /// and the position up to which they are complete.
    pub(crate) fn upto(rows: &[KeyValue], after: Position, upto: Position) -> (Vec<Self>, Position) {
        let (mut markers, mut complete) = (Vec::new(), after);
        for row in rows {
            let changed = Position::of_key(&row.key);
            if changed > upto {
                return (markers, upto);
            }
            if markers.len() == MARKERS_MAX {
                return (markers, complete);
            }
            complete = changed;
            markers.push(Self::of(&row.value));
        }
        (markers, upto)
    }

    fn of(listed: &[u8]) -> Self {
        let read = Position::from_prefix(listed).unwrap_or(Position::FIRST);
        let member = listed.get(STAMP_BYTES..).unwrap_or_default();
        Self { member: String::from_utf8_lossy(member).into_owned(), read }
    }
}
