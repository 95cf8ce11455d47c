//! The whole stack on this machine, one process per role.
//!
//! Owns: the roles' command lines ([`plan`]), their binaries ([`binaries`]), the sample ([`sample`]), filling a stack with data ([`seed`]), keeping them
//! running ([`supervise`]) and the order in which all of it starts and stops ([`run`]). Does not own: anything that a role does;
//! it reaches them by their command lines, signals and HTTP only, as an operator would. Invariant: when this process
//! ends, however it ends, the processes that it started end too.

pub mod backoff;
pub mod binaries;
pub mod error;
pub mod log;
pub mod options;
pub mod plan;
pub mod probe;
pub mod ready;
pub mod run;
pub mod sample;
pub mod seed;
pub mod signals;
pub mod supervise;
pub mod tied;
