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

use std::collections::BTreeMap;

use store::{CommitStamp, Error, RunOptions, Transaction, limits::STAMP_BYTES};

use crate::{
    chunk,
    event::NewEvent,
    ids::Ids,
    invalid::Invalid,
    join::join,
    keys::{List, stamped_position},
    limits::{CONDITION_ROWS_MAX, DENSE_MIN, DENSE_SPAN, EVENTS_MAX, HEADS},
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
        let events: Vec<&[NewEvent]> = appends.iter().map(|append| &append.events[..]).collect();
        let ids = Ids::read(&self.keys, transaction, &events, &self.buckets_used).await?;
        let check = |append: &&'a Append| self.check(transaction, append, &ids);
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
        if together.events.is_empty() {
            return Ok(Decided { decisions, stamp: None });
        }
        ids.write(&self.keys, transaction, &together.events)?;
        self.put(transaction, &together.events)?;
        transaction.set_versionstamped_value(&self.keys.head(fastrand::u8(..HEADS)), &stamped_position(0))?;
        Ok(Decided { decisions, stamp: Some(transaction.versionstamp()) })
    }

    /// The positions of events that were appended earlier.
    async fn check(
        &self,
        transaction: &Transaction,
        append: &Append,
        ids: &Ids<'_>,
    ) -> Result<Vec<Option<EventPosition>>, AppendError> {
        let known: Vec<_> = append.events.iter().map(|event| ids.position(&event.id)).collect();
        let positions: Vec<_> = known.iter().copied().flatten().collect();
        let mut records = self.records(transaction.snapshot(), &positions).await?.into_iter();
        for (index, (event, position)) in append.events.iter().zip(&known).enumerate() {
            if let Some(position) = *position
                && records.next().is_none_or(|record| record != event.record)
            {
                return Err(AppendError::IdTaken { index, id: event.id.clone(), position });
            }
        }
        if !known.iter().all(Option::is_some)
            && let Some(condition) = &append.condition
            && let Some(position) = self.first_match(transaction, condition).await?
        {
            return Err(AppendError::ConditionFailed { position });
        }
        Ok(known)
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
                    let records = self.records(snapshot, &[row.position]).await?;
                    records.iter().any(|record| query.matches(record))
                }
                RowValue::Fingerprints(_) => false,
            };
            if matches {
                return Ok(Some(row.position));
            }
        }
        Ok(None)
    }

    /// Writes the new events of a transaction: of each list, the rows that hold them.
    fn put(&self, transaction: &Transaction, events: &[&NewEvent]) -> Result<(), Error> {
        let keys = &self.keys;
        let fingerprints: Vec<_> = events.iter().map(|event| fingerprints(event)).collect();
        let (mut types, mut tags) = (BTreeMap::<&str, Vec<u16>>::new(), BTreeMap::<&str, Vec<u16>>::new());
        for (event, index) in events.iter().zip(0..) {
            types.entry(&event.event_type).or_default().push(index);
            event.tags.iter().for_each(|tag| tags.entry(tag).or_default().push(index));
        }
        let all: Vec<u16> = (0..).take(events.len()).collect();
        put_rows(transaction, &keys.log(), &all, |index| events[index].record.as_bytes())?;
        for (event_type, indexes) in types {
            put_rows(transaction, &keys.of_type(event_type), &indexes, |index| &fingerprints[index])?;
        }
        for (tag, indexes) in tags {
            let copies = !is_dense(&indexes);
            put_rows(transaction, &keys.of_tag(tag), &indexes, |index| match copies {
                true => copy_or(events[index], &fingerprints[index]),
                false => &fingerprints[index],
            })?;
        }
        Ok(())
    }
}

/// Writes the events with these indexes in the commit into a list.
fn put_rows<'e>(
    transaction: &Transaction,
    list: &List,
    indexes: &[u16],
    entry: impl Fn(usize) -> &'e [u8],
) -> Result<(), Error> {
    let entries = indexes.iter().map(|&index| (index, entry(index.into())));
    let mut rows = chunk::rows(entries).into_iter();
    rows.try_for_each(|row| transaction.set_versionstamped_key(&list.stamped(row.last), &row.value))
}

/// True when so many of the events between the first and the last have these indexes that a reader
/// had better read them in the log.
fn is_dense(indexes: &[u16]) -> bool {
    let (Some(first), Some(last)) = (indexes.first(), indexes.last()) else { return false };
    indexes.len() >= DENSE_MIN && usize::from(last - first) < DENSE_SPAN * indexes.len()
}
