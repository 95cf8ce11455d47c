//! An operator's order to a rollout: written into its document, and followed until it is obeyed.
//!
//! Owns the edit, and the checks before it. Leaves what an order means to [`crate::rollout`], and
//! carrying it out to the deciding terminator. Invariant: an order that is written is carried out
//! or refused with a reason by whichever terminator decides next, and an order that no terminator
//! has read yet is replaced only by an abort.

use std::time::Duration;

use crate::document::{Fault, Key, KeyError, Kind, Revision, parse, with_field};
use crate::rollout::{Command, Document, Order, Phase, Refused, State};
use crate::source::{Expected, Source, SourceError, Write, now_ms};

/// How often the state is looked at while an order is awaited.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How often an order is written again when another writer was faster.
const ATTEMPTS_MAX: usize = 5;

/// An order that is in the document.
#[derive(Clone, Debug)]
pub struct Given {
    /// The document.
    pub key: Key,
    /// Its revision before.
    pub before: Revision,
    /// Its revision with the order.
    pub revision: Revision,
    /// The order.
    pub order: Order,
}

/// Why an order was not given or not obeyed.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// The operator's: the service's name is none.
    #[error("{0}")]
    Name(#[from] KeyError),
    /// The operator's: no rollout of the service was started.
    #[error("there is no rollout of {0}; `stack rollout start {0}` begins one")]
    Absent(String),
    /// The operator's: the document in the source does not parse.
    #[error("{key}: {fault}; replace it: stack rollout start {}", key.name())]
    Broken {
        /// The document.
        key: Key,
        /// What is wrong, and where.
        fault: Fault,
    },
    /// The operator's: the command does not fit the phase.
    #[error("{0}")]
    Refused(#[from] Refused),
    /// The phase had changed before the order was read.
    #[error("{0}")]
    RefusedLater(String),
    /// Another order waits for a terminator that decides.
    #[error(
        "{service} is ordered to be {} by {} already, and no terminator has read the order yet; \
         start a terminator, or order an abort", order.command.participle(), order.who
    )]
    Pending {
        /// The service.
        service: String,
        /// The order that waits.
        order: Order,
    },
    /// The source's.
    #[error("{0}")]
    Source(#[from] SourceError),
}

/// Writes the order of `who` into the rollout's document. Needs no driver.
///
/// # Errors
/// [`OrderError`]; after [`SourceError::OutcomeUnknown`] the order may be in the document.
///
/// # Cancel safety
/// Not cancel safe: a dropped future may have written.
pub async fn give(source: &Source, service: &str, command: Command, who: &str) -> Result<Given, OrderError> {
    let key = Key::new(Kind::Rollout, &[service])?;
    let mut ours: Option<Order> = None;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let found = source.get(&key).await?;
        let (bytes, before) = found.ok_or_else(|| OrderError::Absent(service.to_owned()))?;
        let broken = |fault| OrderError::Broken { key: key.clone(), fault };
        let text = String::from_utf8_lossy(&bytes);
        let document: Document = parse(&text).map_err(broken)?;
        if let Some(order) = ours.take_if(|order| document.order.as_ref() == Some(order)) {
            // The attempt whose outcome was unknown has written it.
            return Ok(Given { key, before, revision: before, order });
        }
        let state = stored(source, service).await?.filter(|state| state.is_of(&document));
        check(service, &document, state.as_ref(), command)?;
        let latest_ms = document.order.as_ref().map_or(0, |order| order.at_ms);
        let at_ms = now_ms().max(latest_ms.saturating_add(1));
        let order = Order { command, at_ms, who: who.to_owned() };
        let value = serde_json::to_string(&order).expect("an order is plain data");
        let edited = with_field(&text, "order", &value).map_err(broken)?;
        let document = Some(edited.expect("the time of an order is new"));
        let expected = Expected::At(before);
        let write = Write { key: key.clone(), document, expected, who: Some(who.to_owned()) };
        match source.write(write).await {
            Ok(revision) => return Ok(Given { key, before, revision, order }),
            Err(SourceError::Conflict { .. } | SourceError::OutcomeUnknown(_)) if attempts < ATTEMPTS_MAX => {
                ours = Some(order);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Completes with the rollout's state once the deciding terminator has obeyed `order`. Put a
/// time-out around it: without such a terminator it does not complete.
///
/// # Errors
/// [`OrderError::RefusedLater`] when the order did not fit any more.
///
/// # Cancel safety
/// Cancel safe.
pub async fn obeyed(source: &Source, service: &str, order: &Order) -> Result<State, OrderError> {
    loop {
        // A source that does not answer now may answer later.
        if let Ok(Some(state)) = stored(source, service).await
            && let Some(obeyed) = state.order.as_ref().filter(|obeyed| obeyed.order == *order)
        {
            return match &obeyed.refused {
                Some(reason) => Err(OrderError::RefusedLater(reason.clone())),
                None => Ok(state),
            };
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The state of the service's latest rollout as it is in the source; `None` when no terminator has
/// stored one that this version reads.
///
/// # Errors
/// As for [`Source::get`].
pub async fn stored(source: &Source, service: &str) -> Result<Option<State>, OrderError> {
    let found = source.get(&Key::new(Kind::RolloutState, &[service])?).await?;
    Ok(found.and_then(|(bytes, _)| serde_json::from_slice(&bytes).ok()))
}

/// Checks that the rollout can be given a command: one without a state is about to run.
fn check(
    service: &str,
    document: &Document,
    state: Option<&State>,
    command: Command,
) -> Result<(), OrderError> {
    let obeyed = state.and_then(|state| state.order.as_ref()).map(|obeyed| obeyed.order.at_ms);
    if let Some(order) = document.order.as_ref().filter(|order| Some(order.at_ms) != obeyed)
        && command != Command::Abort
    {
        return Err(OrderError::Pending { service: service.to_owned(), order: order.clone() });
    }
    Ok(command.check(service, state.map_or(Phase::Running, |state| state.phase))?)
}
