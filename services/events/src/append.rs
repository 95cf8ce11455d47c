//! Appending events.
//!
//! Owns the one transaction that checks ids and conditions and writes, for one append or several.
//! `event` defines what an event is, `together` what appends of one transaction have to do with one
//! another, `group` which appends share one.
//!
//! An append reads, and so can conflict with, the keys of its own ids and the lists of its
//! condition after `after`. Everything else is written under versionstamps without reading. So
//! appends without a condition never conflict with one another, and an append with a condition
//! conflicts only with appends that write into the shortest list of its query. A conflict is not a
//! refusal: the transaction runs again, and refuses only when a matching event exists.
//!
//! Invariant: all events of an append are written, or none; an id has one event.

use bytes::Bytes;
use store::{CommitStamp, Error, RunOptions, Transaction, limits::STAMP_BYTES};

use crate::{
    event::NewEvent,
    invalid::Invalid,
    join::join,
    keys::stamped_position,
    limits::{CONDITION_ROWS_MAX, EVENTS_MAX, HEADS},
    log::EventStore,
    plan::Plan,
    position::EventPosition,
    query::Query,
    row::{RowValue, copy_or, fingerprints, row_bytes},
    together::{Decision, Together},
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

/// The decisions about the appends of one transaction, in their order.
struct Decided {
    decisions: Vec<Result<Decision, AppendError>>,
    /// `None` when nothing was written.
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

    /// The events that forbid the append.
    fn query(&self) -> Option<&Query> {
        self.condition.as_ref().map(|condition| &condition.query)
    }

    /// True when the append depends on what the store holds.
    pub(crate) fn has_condition(&self) -> bool {
        self.condition.is_some()
    }

    /// Number of events.
    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    /// Bytes that the append writes, about.
    pub(crate) fn bytes(&self) -> usize {
        self.events.iter().map(row_bytes).sum()
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
        let mut answers = self.append_all(&[append], options).await?;
        let answer = answers.pop().expect("one answer for each append");
        Ok(answer?.expect("the only append of a transaction depends on no other"))
    }

    /// Decides about each of `appends` in one transaction, as if they were appended in this order.
    /// The answer is `None` for an append that depends on an earlier one. Together they have at
    /// most [`EVENTS_MAX`] events.
    ///
    /// # Errors
    /// Errors of the store, for all appends.
    pub(crate) async fn append_all(
        &self,
        appends: &[&Append],
        options: &RunOptions,
    ) -> Result<Vec<Result<Option<Vec<EventPosition>>, AppendError>>, Error> {
        // Repeating the appends has no further effect, so a commit with an unknown outcome may be
        // tried again.
        let options = options.idempotent();
        let work = async |transaction: &Transaction| self.write(transaction, appends).await;
        let Decided { decisions, stamp } = self.store.run(&options, work).await?;
        let stamp = match stamp {
            Some(stamp) => stamp.await?,
            None => [0; STAMP_BYTES],
        };
        let answer = |decision| match decision {
            Decision::Accepted(placed) => Some(placed.positions(stamp)),
            Decision::Dependent => None,
        };
        Ok(decisions.into_iter().map(|decision| decision.map(answer)).collect())
    }

    /// Reads for all appends at once, then decides and writes: what has been written under a
    /// versionstamp cannot be read before the commit.
    async fn write<'a>(&self, transaction: &Transaction, appends: &[&'a Append]) -> Result<Decided, Error> {
        let ids = appends.iter().flat_map(|append| &append.events).map(|event| self.keys.id(&event.id));
        let mut found = transaction.get_all(&ids.collect::<Vec<_>>()).await?.into_iter();
        let check = |append: &&'a Append| {
            let found = found.by_ref().take(append.events.len()).collect();
            self.check(transaction, append, found)
        };
        let checked = join(appends.iter().map(check)).await;
        let mut together = Together::default();
        let mut decisions = Vec::with_capacity(appends.len());
        for (append, checked) in appends.iter().zip(checked) {
            let decision = match checked {
                Err(AppendError::Store(error)) => return Err(error),
                Err(refused) => Err(refused),
                Ok(known) => Ok(together.decide(&append.events, append.query(), known)),
            };
            decisions.push(decision);
        }
        for (event, index) in together.events.iter().zip(0..) {
            self.put(transaction, event, index)?;
        }
        if together.events.is_empty() {
            return Ok(Decided { decisions, stamp: None });
        }
        transaction.set_versionstamped_value(&self.keys.head(fastrand::u8(..HEADS)), &stamped_position(0))?;
        Ok(Decided { decisions, stamp: Some(transaction.versionstamp()) })
    }

    /// The positions of events that were appended earlier; `found` are the rows of the append's
    /// ids.
    async fn check(
        &self,
        transaction: &Transaction,
        append: &Append,
        found: Vec<Option<Bytes>>,
    ) -> Result<Vec<Option<EventPosition>>, AppendError> {
        let mut known = Vec::with_capacity(found.len());
        for ((index, event), found) in append.events.iter().enumerate().zip(found) {
            known.push(match found {
                Some(value) => Some(self.known_event(transaction, index, event, &value).await?),
                None => None,
            });
        }
        if !known.iter().all(Option::is_some)
            && let Some(condition) = &append.condition
            && let Some(position) = self.first_match(transaction, condition).await?
        {
            return Err(AppendError::ConditionFailed { position });
        }
        Ok(known)
    }

    /// The position of an event whose id has the row `value`.
    async fn known_event(
        &self,
        transaction: &Transaction,
        index: usize,
        event: &NewEvent,
        value: &[u8],
    ) -> Result<EventPosition, AppendError> {
        let position = EventPosition::at_end_of(value);
        let same = self.record(transaction.snapshot(), position).await?;
        if same.is_some_and(|record| record == event.record) {
            return Ok(position);
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
