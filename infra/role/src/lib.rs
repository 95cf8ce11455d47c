//! What every process of the stack has, whatever it does: settings, log, metrics, errors,
//! allocator and worker threads.
//!
//! A role is the terminator or a service. It reads its [`settings`], says what it does on
//! [`telemetry`], answers errors as a [`problem`] in the media type that the client [`accept`]s,
//! uses the allocator of [`memory`], and runs on the threads of [`worker`].

pub mod accept;
pub mod memory;
pub mod problem;
pub mod settings;
pub mod telemetry;
pub mod worker;

mod scheduling;

pub use scheduling::Scheduling;
