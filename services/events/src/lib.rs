//! An event store: events with a type, tags and data, appended atomically, under a condition if wished.
//!
//! Owns: what an event is, its position, the indexes that find it, conditions ("fail if events that match this query
//! exist after this position"), long polls and projections, and the HTTP routes of all that. Does not own: the bus
//! (`service-host`), or transactions (`store`). docs/adr/0006 has the reasons.
//!
//! Invariant: positions are totally ordered, and **gap-free as a reader sees them**: who has read up to a position
//! has seen every event that has, or will ever have, a position up to it. Positions are versionstamps of commits,
//! not numbers of a counter, so they are not consecutive and no two appends wait for each other because of them.

mod append;
mod args;
mod draft;
mod event;
mod failure;
mod invalid;
mod join;
mod keys;
pub mod limits;
mod log;
mod plan;
mod position;
mod projections;
mod query;
mod routes;
mod row;
mod tail;
mod walk;

pub use append::{Append, AppendError, Condition};
pub use args::Args;
pub use event::{NewEvent, Record};
pub use invalid::Invalid;
pub use log::{EventStore, Page};
pub use position::{BadPosition, Position};
pub use projections::{Projection, Projections, PutError};
pub use query::Query;
pub use routes::routes;
pub use tail::{Tail, Waiting};
