//! Live change: what operators may alter in a running stack, and what follows from it.
//!
//! Owns the documents of a plan (toggles, segments, rollouts, ghosts, bus listeners), where they
//! come from, and every decision that they call for: the variant a request gets, the version it
//! goes to, the verdict on a candidate. Leaves acting on the decisions to `terminator` and
//! `service-host`. Invariant: decisions are pure functions; time and randomness are arguments.

pub mod discovery;
pub mod document;
pub mod ghost;
pub mod hash;
pub mod identity;
pub mod ofrep;
pub mod orders;
pub mod rollout;
pub mod source;
pub mod split;
pub mod statistics;
pub mod toggle;
