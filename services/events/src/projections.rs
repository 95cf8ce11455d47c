//! Projections: the state that a client computed from the events up to a position.
//!
//! Owns states with their positions, and the check that two clients which fold the same events do
//! not overwrite each other. Folding is up to the client; docs/adr/0006 says why.
//!
//! Invariant: state and position change together, and only when the client knows the current
//! position.

use bytes::Bytes;
use store::{Error, RunOptions, Store};

use crate::{
    invalid::{Invalid, check_name},
    keys::Keys,
    limits::{PROJECTION_NAME_BYTES_MAX, STATE_BYTES_MAX},
    position::{EventPosition, POSITION_BYTES},
};

/// The projections of a store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Projections {
    store: Store,
    keys: Keys,
}

/// A state and the position of the events that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Projection {
    /// The state includes all events up to this position.
    pub position: EventPosition,
    /// JSON text.
    pub state: Bytes,
}

/// Why a projection was not written.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// Another client has written the projection.
    #[error("the projection is at {}, not at the position given as `previous`", said(*at))]
    Moved {
        /// The current position; `None` when there is no projection.
        at: Option<EventPosition>,
    },
    /// An error of the store.
    #[error(transparent)]
    Store(#[from] Error),
}

impl Projections {
    /// The projections in `store`.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store, keys: Keys::new() }
    }

    /// Checks a name.
    ///
    /// # Errors
    /// [`Invalid`].
    pub fn check_name(name: &str) -> Result<(), Invalid> {
        check_name("name", name, PROJECTION_NAME_BYTES_MAX)
    }

    /// Checks a state's length.
    ///
    /// # Errors
    /// [`Invalid`].
    pub fn check_state(state: &str) -> Result<(), Invalid> {
        match state.len() {
            len if len > STATE_BYTES_MAX => Err(Invalid::over("state", "bytes", STATE_BYTES_MAX, len)),
            _ => Ok(()),
        }
    }

    /// Reads a projection.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn read(&self, name: &str) -> Result<Option<Projection>, Error> {
        Ok(self.store.get(&self.keys.projection(name)).await?.map(stored))
    }

    /// Writes a projection whose current position is `previous`; `None` means that it does not
    /// exist yet. Writing the current value again is no error, so a write may be repeated.
    ///
    /// # Errors
    /// [`PutError`].
    ///
    /// # Cancel safety
    /// The projection is written completely or not at all; repeat the write to find out.
    pub async fn put(
        &self,
        name: &str,
        projection: &Projection,
        previous: Option<EventPosition>,
        options: &RunOptions,
    ) -> Result<(), PutError> {
        let key = self.keys.projection(name);
        let value = [projection.position.as_bytes(), &projection.state[..]].concat();
        let work = async |transaction: &store::Transaction| {
            let found = transaction.get(&key).await?;
            if found.as_deref() == Some(&value[..]) {
                return Ok(());
            }
            let at = found.map(|found| stored(found).position);
            if at != previous {
                return Err(PutError::Moved { at });
            }
            Ok(transaction.set(&key, &value)?)
        };
        self.store.run(&options.idempotent(), work).await
    }
}

fn stored(value: Bytes) -> Projection {
    let position = EventPosition::at_end_of(&value[..POSITION_BYTES]);
    Projection { position, state: value.slice(POSITION_BYTES..) }
}

fn said(at: Option<EventPosition>) -> String {
    at.map_or_else(|| "no position: there is none".to_owned(), |at| format!("position {at}"))
}
