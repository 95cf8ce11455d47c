//! Live change at the edge: what the plan in force means for each request.
//!
//! Owns the compiled plan ([`Snapshot`]), the decisions that a worker takes by it ([`Decisions`]),
//! the services of which it copies requests ([`Ghosts`]), and the client's identity
//! ([`Identities`]). Leaves documents, evaluation and splits to crate
//! `change`, sending to `forward`. Invariant: a request is decided once, when its head is read; no
//! plan, or an empty one, costs one comparison.

mod decisions;
mod ghosts;
mod identities;
mod snapshot;

pub use decisions::{Decision, Decisions, Pin};
pub use ghosts::{Ghost, Ghosts, Origin, Shadowed};
pub use identities::Identities;
pub use snapshot::{Rollout, Snapshot};
