//! Ghost traffic: copies of requests for a candidate, whose replies are compared with stable's.
//!
//! Owns the document, the choice of requests and the comparison. Leaves sending the copies, and
//! their low priority, to the terminator. Invariants: nothing here delays or changes what a client
//! gets; memory and time of a comparison are bounded, and what exceeds a bound is counted.
//!
//! # Noise
//!
//! Two correct replies differ in timestamps and random numbers. As Diffy does, each request is
//! copied twice: to the candidate and to a second instance of stable, or to the only one. A path in
//! which stable and the second stable differ as often as stable and the candidate is noise.

pub mod comparison;
pub mod difference;
pub mod document;
pub mod selection;

pub use comparison::{Comparison, Counted, Report};
pub use difference::Reply;
pub use document::Document;
pub use selection::{Selection, Target};
