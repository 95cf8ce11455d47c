//! What a comparison runs: the machine's preparation, the systems, their programs, and wrk.
//!
//! Peers are the other systems that ours is compared with. Owns installing and starting everything
//! that is measured. Leaves what is measured, and in which order, to `compare` and the other
//! commands, and the tables to `report`.

pub mod bare;
pub(crate) mod ground;
mod install;
pub mod programs;
pub(crate) mod running;
pub(crate) mod stores;
pub(crate) mod systems;
pub(crate) mod wrk;
