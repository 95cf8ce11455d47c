//! An event store: events with a type, tags and data, appended atomically, optionally under a
//! condition.
//!
//! Owns what an event is, its position, its indexes, conditions ("fail if events that match this
//! query exist after this position"), long polls, projections, and the HTTP routes for these.
//! `service-host` owns the bus, `store` transactions. docs/adr/0006 has the reasons.
//!
//! Invariant: positions are totally ordered, and **gap-free for readers**: a reader that has read
//! up to a position has seen every event that has, or will ever have, a position up to it.
//! Positions are versionstamps of commits, so they are not consecutive, and no two appends wait for
//! each other to get one.

mod append;
mod args;
mod chunk;
mod draft;
mod event;
mod failure;
mod group;
mod ids;
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
mod together;
mod walk;

pub use append::{Append, AppendError, Condition};
pub use args::Args;
pub use event::{NewEvent, Record};
pub use group::Appender;
pub use invalid::Invalid;
pub use log::{EventStore, Page};
pub use position::{BadPosition, EventPosition};
pub use projections::{Projection, Projections, PutError};
pub use query::Query;
pub use routes::serve;
pub use tail::{Tail, Waiting};
