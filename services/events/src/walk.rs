//! Reading lists in the order of positions.
//!
//! Owns merging several lists into one. `plan` chooses the lists.
//!
//! Invariant: positions ascend.

use store::{Error, Range, Rows, Snapshot, Transaction, limits::BATCH_ROWS_MAX};

use crate::{
    chunk::Entries, join::join, keys::List, limits::PORTION_ROWS, position::EventPosition, row::RowValue,
};

/// The transaction that reads.
#[derive(Clone, Copy)]
pub(crate) enum Reader<'t> {
    /// Reads are checked for conflicts when the transaction commits.
    Checked(&'t Transaction),
    /// Reads are not checked.
    Unchecked(Snapshot<'t>),
}

impl<'t> Reader<'t> {
    fn rows(self, range: Range) -> Rows<'t> {
        match self {
            Self::Checked(transaction) => transaction.rows(range),
            Self::Unchecked(snapshot) => snapshot.rows(range),
        }
    }
}

/// An event of one of the lists.
pub(crate) struct Row {
    pub(crate) position: EventPosition,
    pub(crate) value: RowValue,
}

/// Several lists read as one.
pub(crate) struct Walk<'t> {
    /// Each list with its next event, `None` at its end.
    sources: Vec<(Source<'t>, Option<Row>)>,
    /// True when the sources have their first events.
    begun: bool,
}

/// One list, read in portions that grow.
struct Source<'t> {
    reader: Reader<'t>,
    range: Range,
    after: EventPosition,
    entries: Entries,
    rows: Rows<'t>,
    /// Rows of this portion that have not come.
    left: usize,
    portion: usize,
}

impl<'t> Walk<'t> {
    /// All lists after `after`. The caller expects to need at most `limit` events of each.
    pub(crate) fn new(
        reader: Reader<'t>,
        lists: &[List],
        after: EventPosition,
        limit: Option<usize>,
    ) -> Self {
        let portion = limit.unwrap_or(BATCH_ROWS_MAX).min(PORTION_ROWS);
        let source = |list: &List| (Source::new(reader, list.after(after), after, portion), None);
        Self { sources: lists.iter().map(source).collect(), begun: false }
    }

    /// The next event of all lists.
    pub(crate) async fn next(&mut self) -> Result<Option<Row>, Error> {
        if let [(source, _)] = &mut self.sources[..] {
            return source.next().await;
        }
        if !self.begun {
            let firsts = join(self.sources.iter_mut().map(|(source, _)| source.next())).await;
            for ((_, head), first) in self.sources.iter_mut().zip(firsts) {
                *head = first?;
            }
            self.begun = true;
        }
        let heads = self.sources.iter_mut().filter(|(_, head)| head.is_some());
        let nearest = heads.min_by_key(|(_, head)| head.as_ref().map(|row| row.position));
        let Some((source, head)) = nearest else { return Ok(None) };
        let following = source.next().await?;
        Ok(std::mem::replace(head, following))
    }
}

impl<'t> Source<'t> {
    fn new(reader: Reader<'t>, range: Range, after: EventPosition, portion: usize) -> Self {
        let rows = reader.rows(range.clone().limit(portion));
        Self { reader, range, after, entries: Entries::none(), rows, left: portion, portion }
    }

    async fn next(&mut self) -> Result<Option<Row>, Error> {
        loop {
            // The first row may hold events up to `after` too.
            if let Some((position, value)) = self.entries.find(|(position, _)| *position > self.after) {
                return Ok(Some(Row { position, value: RowValue::stored(value) }));
            }
            let Some(row) = self.rows.next().await? else { return Ok(None) };
            self.left -= 1;
            if self.left == 0 {
                self.portion *= 4;
                self.left = self.portion;
                self.range = self.range.clone().after(&row.key);
                self.rows = self.reader.rows(self.range.clone().limit(self.portion));
            }
            self.entries = Entries::stored(row);
        }
    }
}
