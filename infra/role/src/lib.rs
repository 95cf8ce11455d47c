//! What every process of the stack has, whatever it does: settings, log, metrics, allocator, worker
//! threads, and a life from start to drain.
//!
//! A role is the terminator or a service. It reads its [`settings`], says what it does on
//! [`telemetry`], uses the allocator of [`memory`], and runs on the threads of [`worker`]. Its
//! listening sockets may come from systemd or a predecessor ([`sockets`], [`handover`]); [`life`]
//! ends it as its [`signals`] or a successor ask.

pub mod handover;
pub mod life;
pub mod memory;
pub mod settings;
pub mod signals;
pub mod sockets;
pub mod telemetry;
pub mod worker;

mod notify;
mod scheduling;
mod steps;

pub use scheduling::Scheduling;
