//! Measures the stack, and other systems beside it.
//!
//! Owns the load generator ([`load`]), the yardstick ([`peers::bare`]), the comparison with peers
//! ([`compare`]), the mixed load ([`mixed`]), the store alone ([`store_alone`]), the bus alone
//! ([`bus_alone`]), idle connections ([`idle`]) and polls ([`polls`]), and the description of the
//! machine ([`machine`]). Measured processes are reached by their command lines and sockets only.
//! Invariant: a figure is printed with the conditions of its measurement, and what could not be
//! measured is reported.
#![expect(clippy::print_stdout, reason = "a command-line program prints its results")]

pub mod bus_alone;
pub mod cli;
pub mod compare;
mod figures;
pub mod idle;
pub mod interrupt;
pub mod load;
pub mod machine;
pub mod mixed;
pub mod peers;
pub mod polls;
pub mod process;
mod report;
pub mod store_alone;
