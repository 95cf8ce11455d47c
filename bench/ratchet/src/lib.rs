//! The exact cost of one request: instructions and allocations, which must not grow.
//!
//! Owns the scenarios ([`scenario`], [`hop`]) and the file of allowed figures ([`allowed`]).
//! `bench` measures time. Invariant: a scenario does the same work in every run, so its figures
//! depend on the code and not on the machine.

pub mod allowed;
pub mod hop;
pub mod scenario;
