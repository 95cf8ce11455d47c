//! The whole stack on this machine, one process per role (the terminator, and each service).
//!
//! Owns the roles' command lines ([`plan`]), their binaries ([`binaries`]), the members that a new
//! stack shows ([`sample`]), filling a stack with data ([`seed`]), the operator's commands of live
//! change ([`live`]), keeping roles running ([`supervise`]), replacing them ([`upgrade`]) and the
//! order of starts and stops ([`run`]). It leaves serving to the roles' own processes and controls
//! them as an operator does: by command lines, signals and HTTP. Invariant: when this process ends,
//! however it ends, the processes that it started end too.

pub mod backoff;
pub mod binaries;
pub mod binary;
pub mod error;
pub mod live;
pub mod log;
pub mod options;
pub mod order;
pub mod plan;
pub mod probe;
pub mod process;
pub mod ready;
pub mod replace;
pub mod roles;
pub mod run;
pub mod sample;
pub mod seed;
pub mod signals;
pub mod supervise;
pub mod tied;
pub mod upgrade;
