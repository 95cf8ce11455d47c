//! What one request costs, counted exactly: instructions and allocations, which must not grow.
//!
//! Owns: the scenarios ([`scenario`], [`hop`]) and the file of allowed figures ([`allowed`]). Does not own: time; that is `bench`'s.
//! Invariant: a scenario does the same work in every run, so its figures differ by what the code does, not by the machine.

pub mod allowed;
pub mod hop;
pub mod scenario;
