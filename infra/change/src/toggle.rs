//! Feature toggles: what is on for a request, and in which variant.
//!
//! Owns documents in Unleash's format, their compilation and their evaluation. Leaves where they
//! come from to `source`, and acting on outcomes to `terminator` and the services. Invariant: for
//! the same document and context the outcome is the one of Unleash's clients; the cases of
//! `@unleash/client-specification` prove it (`tests/specification.rs`).
//!
//! Own code rather than the crate `unleash-yggdrasil` 0.21: its closures cannot say on which fields
//! a toggle depends, it reads the clock and a generator of its own, it allocates for each hash, and
//! it has 80 crates below it; the edge needs outcomes that it can keep by identity within 5 % of
//! the instructions of a request.
//!
//! ```
//! use std::time::SystemTime;
//! use change::toggle::{Context, Feature, Set, parse};
//!
//! let json = br#"{"name":"checkout","enabled":true,
//!     "strategies":[{"name":"flexibleRollout",
//!                    "parameters":{"rollout":"30","stickiness":"userId"}}]}"#;
//! let feature: Feature = parse(json)?;
//! let (set, warnings) = Set::compile([&feature], [], "host-1");
//! assert!(warnings.is_empty());
//!
//! // Once per service and revision of the plan.
//! let selection = set.select(&["checkout"], Some("production"), Some("profile"));
//! assert_eq!(selection.depends_on().to_string(), "userId");
//!
//! // Once per identity.
//! let context = Context { user_id: Some("40"), ..Context::default() };
//! let mut random = fastrand::Rng::new();
//! let mut fields = Vec::new();
//! selection.by_identity().evaluate(&context, SystemTime::now(), &mut random, |outcome| {
//!     fields.extend(outcome.on_wire().map(str::to_owned));
//! });
//! assert_eq!(fields, ["checkout"], "40 is in bucket 27 of 100");
//! # Ok::<(), change::toggle::ParseError>(())
//! ```

mod compiled;
mod constraint;
mod context;
pub mod feature;
mod set;
pub mod state;
mod strategy;
mod variant;
mod warning;
pub mod wire;

pub use compiled::{Cause, Outcome, Toggle};
pub use context::{Context, Dependence, Properties};
pub use feature::{Feature, ParseError, Payload, Segment, parse};
pub use set::{Group, Selection, Set};
pub use variant::Variant;
pub use warning::Warning;
