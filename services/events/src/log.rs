//! Reading events.
//!
//! Owns: the handle and pages. Does not own: appending (`append`), or waiting for events (`tail`).
//!
//! Invariant: a page has every event that matches between `after` and its own position. Gap-free because commits
//! become visible in the order of their versionstamps: a transaction that sees one sees all those before it.

use store::{Error, RunOptions, Snapshot, Store, Watch};

use crate::{
    event::Record,
    join::join,
    keys::Keys,
    limits::{HEADS, PAGE_BYTES_MAX, READ_ROWS_MAX, READS_AT_ONCE, TAIL_ROWS_MAX},
    plan::Plan,
    position::Position,
    query::Query,
    row::RowValue,
    walk::{Reader, Row, Walk},
};

/// The events in a store. Cheap to clone; any number of threads may use it.
#[derive(Clone, Debug)]
pub struct EventStore {
    pub(crate) store: Store,
    pub(crate) keys: Keys,
}

/// Some events in the order of their positions.
#[derive(Debug)]
pub struct Page {
    /// Events with their positions.
    pub events: Vec<(Position, Record)>,
    /// Up to here the page is complete; the next one begins behind it. Not less than the `after` that was given.
    pub position: Position,
    /// Whether there may be more events already.
    pub more: bool,
}

/// What is new in the log, for a tail.
pub(crate) struct Look {
    pub(crate) page: Page,
    /// Fire after the next append; empty unless asked for.
    pub(crate) watches: Vec<Watch>,
}

/// Rows that were found, and how far they are complete.
struct Found {
    rows: Vec<Row>,
    position: Position,
    more: bool,
}

impl EventStore {
    /// The events in `store`.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store, keys: Keys::new() }
    }

    /// At most `limit` events that match `query` behind `after`; fewer when they are long or rare.
    ///
    /// # Errors
    /// The store's.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn read(
        &self,
        query: &Query,
        after: Position,
        limit: usize,
        options: &RunOptions,
    ) -> Result<Page, Error> {
        self.store.read(options, async |snapshot| self.page(snapshot, query, after, limit).await).await
    }

    /// The next events of the log, and watches for those behind them if `arm` says so: one moment, so that no append
    /// falls between.
    pub(crate) async fn look(&self, after: Position, arm: bool, options: &RunOptions) -> Result<Look, Error> {
        let work = async |transaction: &store::Transaction| {
            let page = self.page(transaction.snapshot(), &Query::default(), after, TAIL_ROWS_MAX).await?;
            let heads = if arm { HEADS } else { 0 };
            let watches = (0..heads).map(|head| transaction.watch(&self.keys.head(head)));
            Ok(Look { page, watches: watches.collect::<Result<_, Error>>()? })
        };
        self.store.run(options, work).await
    }

    /// The event at a position; `None` where there is none.
    pub(crate) async fn record(
        &self,
        snapshot: Snapshot<'_>,
        position: Position,
    ) -> Result<Option<Record>, Error> {
        let value = snapshot.get(&self.keys.record(position)).await?;
        Ok(value.map(Record::stored))
    }

    async fn page(
        &self,
        snapshot: Snapshot<'_>,
        query: &Query,
        after: Position,
        limit: usize,
    ) -> Result<Page, Error> {
        let seen = Position::seen_at(snapshot.read_version().await?).max(after);
        let plan = Plan::choose(&self.keys, query, after, snapshot).await?;
        let found = find(&plan, query, after, seen, limit, snapshot).await?;
        self.with_records(found, query, snapshot).await
    }

    /// Fetches the records of those rows that have none, as many as fit into a page.
    async fn with_records(&self, found: Found, query: &Query, snapshot: Snapshot<'_>) -> Result<Page, Error> {
        let Found { mut rows, position, more } = found;
        let mut page = Page { events: Vec::with_capacity(rows.len()), position, more };
        let mut bytes = 0;
        for chunk in rows.chunks_mut(READS_AT_ONCE) {
            self.fetch(chunk, query, snapshot).await?;
            for row in chunk {
                if bytes >= PAGE_BYTES_MAX {
                    page.more = true;
                    page.position = page.events.last().map_or(position, |(position, _)| *position);
                    return Ok(page);
                }
                if let RowValue::Record(record) = &row.value {
                    bytes += record.text().len();
                    page.events.push((row.position, record.clone()));
                }
            }
        }
        Ok(page)
    }

    /// Puts records in the place of fingerprints where they match.
    async fn fetch(&self, rows: &mut [Row], query: &Query, snapshot: Snapshot<'_>) -> Result<(), Error> {
        let missing = rows.iter_mut().filter(|row| matches!(row.value, RowValue::Fingerprints(_)));
        let fetched = join(missing.map(async |row: &mut Row| {
            let record = self.record(snapshot, row.position).await?;
            let record = record.expect("rows of indexes and records are written together and never removed");
            if query.matches(&record) {
                row.value = RowValue::Record(record);
            }
            Ok(())
        }));
        fetched.await.into_iter().collect()
    }
}

/// At most `limit` rows that may match, from the lists of the plan.
async fn find(
    plan: &Plan,
    query: &Query,
    after: Position,
    seen: Position,
    limit: usize,
    snapshot: Snapshot<'_>,
) -> Result<Found, Error> {
    // One row more tells whether there are others.
    let rows_max = (!plan.compare).then_some(limit + 1);
    let mut walk = Walk::new(Reader::Unchecked(snapshot), &plan.lists, after, rows_max);
    let mut found = Found { rows: Vec::new(), position: after, more: false };
    let (mut looked_at, mut bytes) = (0, 0);
    while let Some(row) = walk.next().await? {
        if found.rows.len() == limit || looked_at == READ_ROWS_MAX || bytes >= PAGE_BYTES_MAX {
            found.more = true;
            return Ok(found);
        }
        looked_at += 1;
        found.position = row.position;
        if !plan.compare || row.value.may_match(query) {
            bytes += row.value.len();
            found.rows.push(row);
        }
    }
    found.position = seen;
    Ok(found)
}
