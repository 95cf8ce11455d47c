//! Rollouts in virtual time: how often equal versions fail, how soon bad ones are found, and what
//! the state machine does when its inputs are late, doubled or lost.
//!
//! Owns: what [`change::rollout`] promises over many seeded runs. Invariant: every run prints its
//! seed, and `SEED=N` repeats it.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "all of this crate is tests; clippy knows only the functions marked so"
)]

#[path = "rollouts/machine.rs"]
mod machine;
#[path = "rollouts/odds.rs"]
mod odds;
#[path = "rollouts/simulation.rs"]
mod simulation;
