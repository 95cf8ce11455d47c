//! Structures made of transactions, for services in Rust; each works on both backends.
//!
//! Owns [`queue`] (work that is done at least once), [`pubsub`] (messages that every subscriber
//! reads in order) and [`slots`] (runs that one of several instances makes), and what they share.
//! A structure lives under a [`crate::Subspace`] that the caller gives it and that holds nothing
//! else. `services/store/README.md` tells operators about their keys.
//!
//! Invariant: a structure's methods that end with `_in` only read and write inside the caller's
//! transaction, so they take effect together with the caller's own writes or not at all.

mod backoff;
mod clock;
mod id;
mod number;
pub mod pubsub;
pub mod queue;
pub mod slots;

pub use backoff::Backoff;
pub use clock::Clock;
pub use id::{ID_BYTES, Id};
