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
//! Every terminator splits requests with [`crate::split::Split`] at [`State::percent`], counts them
//! with a [`Recorder`] and publishes what [`Recorder::take`] returns: at least once a second, and
//! each 100 ms to a machine in the same process, because the fast path runs whenever counts arrive.
//! The deciding terminator gives all counts to its [`Machine`], calls [`Machine::tick`] once a
//! second, and stores [`Machine::state`] when it changed. Another terminator continues from the
//! stored state with [`Machine::restore`].
//!
//! # How a confidence holds for a whole rollout
//!
//! With `confidence` 0.99, at most 1 % of all rollouts of an equal candidate fail the check, over
//! all looks and stages. Sequential tests take care of the looks. Each stage, and each return to
//! one, is an *epoch* with tests of its own, so that a healthy early stage does not hide a
//! regression in a later one. Epoch `j` spends the part `1 / (j * (j + 1))` of the allowed 1 %. The
//! check of errors splits its part in three: the test over the whole epoch, the fast path, and the
//! limit of control's error rate that the fast path uses. The check of p99 splits it in two: the
//! bound of the candidate and the bound of control.
//!
//! A failed verdict takes the candidate back when the next two verdicts fail as well.
//!
//! # The fast path
//!
//! The share falls to 0 as soon as counts arrive that show, over the last two to four seconds, at
//! least 10 errors of the candidate at three times the control's rate or more. These conditions
//! alone are no proof: over a whole stage, about one of twenty equal candidates of a service that
//! fails 2 % of its requests meets them, as the tests of this crate show. Two more conditions are
//! needed. The errors are too many for the highest error rate that control can have had in this
//! rollout; this test holds the confidence of the check. And the errors fall on the candidate by
//! chance at most once in 500 times, so that a failure of the service as a whole, which the first
//! test takes for the candidate's, is recognised by the control group.
//!
//! # Limits
//!
//! - A stage of 100 % has no control group. The candidate is compared with three times the highest
//!   error rate that earlier control groups can have had, and its p99 is not judged. A failure of
//!   the whole service in that stage takes the candidate back.
//! - Requests of one identity are in one group. An identity that alone causes a large part of the
//!   errors makes its group look worse, whichever group it is.
//! - A 99th percentile above the limit by its estimate, but not proven, keeps a stage waiting.

pub mod counts;
pub mod document;
pub mod epoch;
pub mod machine;
pub mod order;
pub mod phase;
pub mod report;
pub mod state;
pub mod verdict;

pub use counts::{Counts, GroupCounts, Recorder};
pub use document::{Document, Sticky};
pub use machine::{Accepted, Machine};
pub use order::{Command, Obeyed, Order, Refused};
pub use phase::Phase;
pub use report::Report;
pub use state::State;
pub use verdict::Verdict;
