//! Reading events.
//!
//! Owns the handle and pages. Appending is in `append`, waiting for events in `tail`.
//!
//! Invariant: a page has every matching event between `after` and its own position. There are no
//! gaps, because commits become visible in the order of their versionstamps: a transaction that
//! sees one commit sees all earlier ones.

use std::sync::{Arc, atomic::AtomicBool};

use store::{Error, RunOptions, Snapshot, Store, Subspace, Watch};

use crate::{
    chunk::Entries,
    event::Record,
    join::join,
    keys::Keys,
    limits::{HEADS, PAGE_BYTES_MAX, READ_ROWS_MAX, READS_AT_ONCE, TAIL_ROWS_MAX},
    plan::Plan,
    position::EventPosition,
    query::Query,
    row::RowValue,
    walk::{Reader, Row, Walk},
};

/// The events of a store. Cheap to clone; any number of threads may use it.
#[derive(Clone, Debug)]
pub struct EventStore {
    pub(crate) store: Store,
    pub(crate) keys: Keys,
    /// True when buckets of ids have been seen.
    pub(crate) buckets_used: Arc<AtomicBool>,
}

/// Events in the order of their positions.
#[derive(Debug)]
pub struct Page {
    /// Events with their positions.
    pub events: Vec<(EventPosition, Record)>,
    /// The page is complete up to this position, and the next page begins after it. At least the
    /// `after` of the request.
    pub position: EventPosition,
    /// True when more events may exist already.
    pub more: bool,
}

/// New events of the log, for a tail.
pub(crate) struct Look {
    pub(crate) page: Page,
    /// Watches that fire after the next append; empty unless requested.
    pub(crate) watches: Vec<Watch>,
}

/// Rows that were found, and how far they are complete.
struct Found {
    rows: Vec<Row>,
    position: EventPosition,
    more: bool,
}

impl EventStore {
    /// The events in `store`.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store, keys: Keys::new(), buckets_used: Arc::default() }
    }

    /// Events under a prefix of their own, for tests that share a cluster.
    #[must_use]
    pub fn under(store: Store, prefix: &Subspace) -> Self {
        Self { store, keys: Keys::under(prefix), buckets_used: Arc::default() }
    }

    /// At most `limit` events after `after` that match `query`; fewer when they are long or rare.
    ///
    /// # Errors
    /// Errors of the store.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn read(
        &self,
        query: &Query,
        after: EventPosition,
        limit: usize,
        options: &RunOptions,
    ) -> Result<Page, Error> {
        self.store.read(options, async |snapshot| self.page(snapshot, query, after, limit).await).await
    }

    /// The next events of the log and, when `arm` is true, watches for later ones. Both are of one
    /// moment, so no append falls between them.
    pub(crate) async fn look(
        &self,
        after: EventPosition,
        arm: bool,
        options: &RunOptions,
    ) -> Result<Look, Error> {
        let work = async |transaction: &store::Transaction| {
            let page = self.page(transaction.snapshot(), &Query::default(), after, TAIL_ROWS_MAX).await?;
            let heads = if arm { HEADS } else { 0 };
            let watches = (0..heads).map(|head| transaction.watch(&self.keys.head(head)));
            Ok(Look { page, watches: watches.collect::<Result<_, Error>>()? })
        };
        self.store.run(options, work).await
    }

    /// The events at these positions, which ids or indexes name.
    pub(crate) async fn records(
        &self,
        snapshot: Snapshot<'_>,
        positions: &[EventPosition],
    ) -> Result<Vec<Record>, Error> {
        let parts = positions.chunk_by(EventPosition::is_near);
        let read = join(parts.map(async |part: &[EventPosition]| {
            let (Some(first), Some(last)) = (part.iter().min(), part.iter().max()) else {
                return Ok(Vec::new());
            };
            let rows = snapshot.range(self.keys.log().holding(*first, *last)).await?;
            let entries: Vec<_> = rows.into_iter().flat_map(Entries::stored).collect();
            let record = |position| {
                let at = entries.binary_search_by_key(position, |(position, _)| *position);
                let at = at.expect("an event's rows are written together and never removed");
                Record::stored(entries[at].1.clone())
            };
            Ok(part.iter().map(record).collect())
        }));
        let records: Result<Vec<Vec<_>>, Error> = read.await.into_iter().collect();
        Ok(records?.concat())
    }

    async fn page(
        &self,
        snapshot: Snapshot<'_>,
        query: &Query,
        after: EventPosition,
        limit: usize,
    ) -> Result<Page, Error> {
        let seen = EventPosition::seen_at(snapshot.read_version().await?).max(after);
        let plan = Plan::choose(&self.keys, query, after, snapshot).await?;
        let found = find(&plan, query, after, seen, limit, snapshot).await?;
        self.with_records(found, query, snapshot).await
    }

    /// Fetches missing records of these rows, as many as fit into a page.
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

    /// Replaces fingerprints by records where these match.
    async fn fetch(&self, rows: &mut [Row], query: &Query, snapshot: Snapshot<'_>) -> Result<(), Error> {
        let mut missing: Vec<&mut Row> =
            rows.iter_mut().filter(|row| matches!(row.value, RowValue::Fingerprints(_))).collect();
        let positions: Vec<_> = missing.iter().map(|row| row.position).collect();
        for (row, record) in missing.iter_mut().zip(self.records(snapshot, &positions).await?) {
            if query.matches(&record) {
                row.value = RowValue::Record(record);
            }
        }
        Ok(())
    }
}

/// At most `limit` rows that may match, from the lists of the plan.
async fn find(
    plan: &Plan,
    query: &Query,
    after: EventPosition,
    seen: EventPosition,
    limit: usize,
    snapshot: Snapshot<'_>,
) -> Result<Found, Error> {
    // One more row shows whether more follow.
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
