//! Rollouts: a candidate takes over from stable in stages, or is taken back.
//!
//! Owns the document, the counts that terminators exchange, the verdict and the state machine.
//! Leaves the assignment of identities to [`crate::split`], statistics to [`crate::statistics`],
//! and storing the state with its revision to the source of the plan. Invariant: the candidate's
//! share grows by one stage at a time and only after a passed stage or an operator's command, and
//! it can fall to 0 in every state.
//!
//! # Use
//!
//! Every terminator counts its requests with a [`Recorder`] and publishes what
//! [`Recorder::take`] returns: at least once a second, and more often to its own machine. The
//! deciding terminator gives all counts to its [`Machine`], calls [`Machine::tick`] once a second,
//! and stores [`Machine::state`] when it changed. Another terminator continues from the stored
//! state with [`Machine::restore`].
//!
//! # How a confidence holds for a whole rollout
//!
//! With `confidence` 0.99, at most 1 % of all rollouts of an equal candidate fail the check, over
//! all looks and stages. The sequential tests take care of the looks. Each stage, and each return
//! to one, is an *epoch* with tests of its own, so that a healthy early stage does not hide a
//! regression in a later one. Epoch `j` spends the part `1 / (j * (j + 1))` of the allowed 1 %.
//! Half of an epoch's part goes to the test over the whole epoch, and half to the fast path, which
//! starts afresh each minute and spends in the same way.
//!
//! # The fast path
//!
//! The share falls to 0 as soon as counts arrive that show at least 10 errors of the candidate, at
//! three times the control's rate or more, *and* evidence at the confidence of the check. The
//! first two conditions alone would be met by an equal candidate of a service that fails 2 % of
//! its requests in about one of twenty stages: the tests of this crate show it.

pub mod counts;
pub mod document;
pub mod epoch;
pub mod machine;
pub mod report;
pub mod state;
pub mod verdict;

pub use counts::{Counts, GroupCounts, Recorder};
pub use document::Document;
pub use machine::{Accepted, Command, Machine, Refused};
pub use report::Report;
pub use state::{Phase, State};
pub use verdict::Verdict;
