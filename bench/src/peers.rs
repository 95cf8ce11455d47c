//! What a comparison runs: the machine's preparation, the systems, their programs, and wrk.
//!
//! Owns starting everything that is measured. Does not own procedures and reports, which are the
//! commands'.

pub mod bare;
pub(crate) mod ground;
mod install;
pub mod programs;
pub(crate) mod running;
pub(crate) mod systems;
pub(crate) mod wrk;
