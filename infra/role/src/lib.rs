//! What every process of the stack has, whatever it does: settings, log, metrics, admin listener,
//! errors, allocator and worker threads.
//!
//! A role is the terminator or a service. It reads its [`settings`], has an [`identity`], runs on
//! the threads of [`worker`] with the allocator of [`memory`], counts [`metrics`], reports them and
//! its log lines by [`telemetry`], and answers operators on [`admin`]. [`observer`] asks its
//! workers for both, and [`readiness`] says whether it takes requests. Errors are a [`problem`], in
//! the media type that the client [`accept`]s.

pub mod accept;
pub mod admin;
pub mod identity;
pub mod memory;
pub mod metrics;
pub mod observer;
pub mod problem;
pub mod readiness;
pub mod settings;
pub mod telemetry;
pub mod unix;
pub mod worker;

mod scheduling;

pub use scheduling::Scheduling;
