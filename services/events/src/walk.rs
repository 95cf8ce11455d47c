//! Reading lists in the order of positions.
//!
//! Owns merging several lists into one. `plan` chooses the lists.
//!
//! Invariant: positions ascend.

use store::{Error, Rows, Snapshot, Transaction};

use crate::{join::join, keys::List, position::EventPosition, row::RowValue};

/// The transaction that reads.
#[derive(Clone, Copy)]
pub(crate) enum Reader<'t> {
    /// Reads are checked for conflicts when the transaction commits.
    Checked(&'t Transaction),
    /// Reads are not checked.
    Unchecked(Snapshot<'t>),
}

impl<'t> Reader<'t> {
    fn rows(self, range: store::Range) -> Rows<'t> {
        match self {
            Self::Checked(transaction) => transaction.rows(range),
            Self::Unchecked(snapshot) => snapshot.rows(range),
        }
    }
}

/// A row of one of the lists.
pub(crate) struct Row {
    pub(crate) position: EventPosition,
    pub(crate) value: RowValue,
}

/// Several lists read as one.
pub(crate) struct Walk<'t> {
    /// Each list with its next row, `None` at its end.
    sources: Vec<(Rows<'t>, Option<Row>)>,
    /// True when the sources have their first rows.
    begun: bool,
}

impl<'t> Walk<'t> {
    /// All lists after `after`, at most `limit` rows of each.
    pub(crate) fn new(
        reader: Reader<'t>,
        lists: &[List],
        after: EventPosition,
        limit: Option<usize>,
    ) -> Self {
        let rows = |list: &List| {
            let range = list.after(after);
            reader.rows(match limit {
                Some(limit) => range.limit(limit),
                None => range,
            })
        };
        Self { sources: lists.iter().map(|list| (rows(list), None)).collect(), begun: false }
    }

    /// The next row of all lists.
    pub(crate) async fn next(&mut self) -> Result<Option<Row>, Error> {
        if let [(rows, _)] = &mut self.sources[..] {
            return next_of(rows).await;
        }
        if !self.begun {
            let firsts = join(self.sources.iter_mut().map(|(rows, _)| next_of(rows))).await;
            for ((_, head), first) in self.sources.iter_mut().zip(firsts) {
                *head = first?;
            }
            self.begun = true;
        }
        let heads = self.sources.iter_mut().filter(|(_, head)| head.is_some());
        let nearest = heads.min_by_key(|(_, head)| head.as_ref().map(|row| row.position));
        let Some((rows, head)) = nearest else { return Ok(None) };
        let following = next_of(rows).await?;
        Ok(std::mem::replace(head, following))
    }
}

async fn next_of(rows: &mut Rows<'_>) -> Result<Option<Row>, Error> {
    let row = rows.next().await?;
    Ok(row
        .map(|row| Row { position: EventPosition::at_end_of(&row.key), value: RowValue::stored(row.value) }))
}
