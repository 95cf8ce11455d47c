//! Appending events.
//!
//! Owns the one transaction that checks ids and condition and writes. `event` defines what an event
//! is.
//!
//! An append reads, and so can conflict with, the keys of its own ids and the lists of its
//! condition after `after`. Everything else is written under versionstamps without reading. So
//! appends without a condition never conflict with one another, and an append with a condition
//! conflicts only with appends that write into the shortest list of its query. A conflict is not a
//! refusal: the transaction runs again, and refuses only when a matching event exists.
//!
//! Invariant: all events of an append are written, or none; an id has one event.

use store::{CommitStamp, Error, RunOptions, Transaction};

use crate::{
    event::NewEvent,
    invalid::Invalid,
    join::join,
    keys::stamped_position,
    limits::{CONDITION_ROWS_MAX, EVENTS_MAX, HEADS, READS_AT_ONCE},
    log::EventStore,
    plan::Plan,
    position::EventPosition,
    query::Query,
    row::{RowValue, copy_or, fingerprints},
    walk::{Reader, Walk},
};

/// Checked events to append together.
#[derive(Clone, Debug)]
pub struct Append {
    events: Vec<NewEvent>,
    condition: Option<Condition>,
}

/// Append only if no event after the position matches the query.
#[derive(Clone, Debug)]
pub struct Condition {
    /// The events that forbid the append.
    pub query: Query,
    /// Events up to this position do not count, because the client has seen them.
    pub after: EventPosition,
}

/// Why nothing was appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// An event exists that the condition forbids.
    #[error("an event that matches the condition is at position {position}")]
    ConditionFailed {
        /// The first such event that was found.
        position: EventPosition,
    },
    /// The id belongs to an event with another type, other tags or other data.
    #[error("`events[{index}].id` {id:?} belongs to another event, at position {position}")]
    IdTaken {
        /// Index of the event in the append.
        index: usize,
        /// The event's id.
        id: String,
        /// EventPosition of the other event.
        position: EventPosition,
    },
    /// The condition cannot be checked within the limit.
    #[error(
        "the condition has to look at more than {CONDITION_ROWS_MAX} events: give a later `after`, or a rarer tag"
    )]
    ConditionTooBroad,
    /// An error of the store.
    #[error(transparent)]
    Store(#[from] Error),
}

/// The positions of an append's events: known ones, and those that the commit assigns.
struct Written {
    known: Vec<Option<EventPosition>>,
    stamp: Option<CommitStamp>,
}

impl Append {
    /// Checks that there are 1 to [`EVENTS_MAX`] events with different ids.
    ///
    /// # Errors
    /// [`Invalid`] with the field.
    pub fn new(events: Vec<NewEvent>, condition: Option<Condition>) -> Result<Self, Invalid> {
        if events.is_empty() {
            let limit = Some(EVENTS_MAX as u64);
            return Err(Invalid { limit, ..Invalid::wrong("events", "is empty: give at least one event") });
        }
        if events.len() > EVENTS_MAX {
            return Err(Invalid::over("events", "events", EVENTS_MAX, events.len()));
        }
        let mut ids: Vec<(&str, usize)> =
            events.iter().enumerate().map(|(at, event)| (&*event.id, at)).collect();
        ids.sort_unstable();
        if let Some([_, (id, at)]) = ids.array_windows().find(|[a, b]| a.0 == b.0) {
            return Err(Invalid::wrong(format!("events[{at}].id"), format!("is there twice: {id:?}")));
        }
        Ok(Self { events, condition })
    }
}

impl EventStore {
    /// Appends all events or none, and returns their positions in order. An event whose id exists
    /// with the same content is not appended again and keeps its position; when this is so for all
    /// events, the condition is not checked. So an append may be repeated until it is answered.
    ///
    /// # Errors
    /// [`AppendError`].
    ///
    /// # Cancel safety
    /// All events are appended or none; repeat the append to find out.
    pub async fn append(
        &self,
        append: &Append,
        options: &RunOptions,
    ) -> Result<Vec<EventPosition>, AppendError> {
        // Repeating the append has no further effect, so a commit with an unknown outcome may be
        // tried again.
        let options = options.idempotent();
        let Written { known, stamp } =
            self.store.run(&options, async |transaction| self.write(transaction, append).await).await?;
        let Some(stamp) = stamp else { return Ok(known.into_iter().flatten().collect()) };
        let stamp = stamp.await?;
        let mut index = 0;
        let positions = known.into_iter().map(|known| {
            known.unwrap_or_else(|| {
                let position = EventPosition::new(stamp, index);
                index += 1;
                position
            })
        });
        Ok(positions.collect())
    }

    async fn write(&self, transaction: &Transaction, append: &Append) -> Result<Written, AppendError> {
        let known = self.known(transaction, &append.events).await?;
        if known.iter().all(Option::is_some) {
            return Ok(Written { known, stamp: None });
        }
        if let Some(condition) = &append.condition
            && let Some(position) = self.first_match(transaction, condition).await?
        {
            return Err(AppendError::ConditionFailed { position });
        }
        let new = append.events.iter().zip(&known).filter(|(_, known)| known.is_none());
        for ((event, _), index) in new.zip(0..) {
            self.put(transaction, event, index)?;
        }
        transaction.set_versionstamped_value(&self.keys.head(fastrand::u8(..HEADS)), &stamped_position(0))?;
        Ok(Written { known, stamp: Some(transaction.versionstamp()) })
    }

    /// The positions of events that were appended earlier.
    async fn known(
        &self,
        transaction: &Transaction,
        events: &[NewEvent],
    ) -> Result<Vec<Option<EventPosition>>, AppendError> {
        if let [event] = events {
            return Ok(vec![self.known_event(transaction, 0, event).await?]);
        }
        let mut known = Vec::with_capacity(events.len());
        for (chunk, first) in events.chunks(READS_AT_ONCE).zip((0..).step_by(READS_AT_ONCE)) {
            let events = chunk.iter().zip(first..);
            let found = join(events.map(|(event, index)| self.known_event(transaction, index, event))).await;
            for position in found {
                known.push(position?);
            }
        }
        Ok(known)
    }

    async fn known_event(
        &self,
        transaction: &Transaction,
        index: usize,
        event: &NewEvent,
    ) -> Result<Option<EventPosition>, AppendError> {
        let Some(value) = transaction.get(&self.keys.id(&event.id)).await? else { return Ok(None) };
        let position = EventPosition::at_end_of(&value);
        let same = self.record(transaction.snapshot(), position).await?;
        if same.is_some_and(|record| record == event.record) {
            return Ok(Some(position));
        }
        Err(AppendError::IdTaken { index, id: event.id.clone(), position })
    }

    /// The first event found that the condition forbids.
    async fn first_match(
        &self,
        transaction: &Transaction,
        condition: &Condition,
    ) -> Result<Option<EventPosition>, AppendError> {
        let Condition { query, after } = condition;
        let snapshot = transaction.snapshot();
        let plan = Plan::choose(&self.keys, query, *after, snapshot).await?;
        let rows_max = if plan.compare { None } else { Some(1) };
        let mut walk = Walk::new(Reader::Checked(transaction), &plan.lists, *after, rows_max);
        let mut looked_at = 0;
        while let Some(row) = walk.next().await? {
            if !plan.compare {
                return Ok(Some(row.position));
            }
            looked_at += 1;
            if looked_at > CONDITION_ROWS_MAX {
                return Err(AppendError::ConditionTooBroad);
            }
            let matches = match row.value {
                RowValue::Record(record) => query.matches(&record),
                RowValue::Fingerprints(fingerprints) if query.may_match(&fingerprints) => {
                    let record = self.record(snapshot, row.position).await?;
                    record.is_some_and(|record| query.matches(&record))
                }
                RowValue::Fingerprints(_) => false,
            };
            if matches {
                return Ok(Some(row.position));
            }
        }
        Ok(None)
    }

    fn put(&self, transaction: &Transaction, event: &NewEvent, index: u16) -> Result<(), Error> {
        let keys = &self.keys;
        transaction.set_versionstamped_key(&keys.log().stamped(index), event.record.as_bytes())?;
        transaction.set_versionstamped_value(&keys.id(&event.id), &stamped_position(index))?;
        let fingerprints = fingerprints(event);
        transaction.set_versionstamped_key(&keys.of_type(&event.event_type).stamped(index), &fingerprints)?;
        for tag in &event.tags {
            transaction
                .set_versionstamped_key(&keys.of_tag(tag).stamped(index), copy_or(event, &fingerprints))?;
        }
        Ok(())
    }
}
