//! What every process of the stack has, whatever it does: settings, log, metrics, admin listener,
//! errors, allocator, worker threads, and a life from start to drain.
//!
//! A role is the terminator or a service. It reads its [`settings`], has an [`identity`], runs on
//! the threads of [`worker`] with the allocator of [`memory`], counts [`metrics`], reports them and
//! its log lines by [`telemetry`], and answers operators on [`admin`]. [`observer`] asks its
//! workers for both, and [`readiness`] says whether it takes requests. Errors are a [`problem`], in
//! the media type that the client [`accept`]s. Its listening sockets may come from systemd or a
//! predecessor ([`sockets`], [`handover`]); it finds its peers, and is found, by [`discovery`].
//! [`life`] ends it as its [`signals`] or a successor ask.

pub mod accept;
pub mod address;
pub mod admin;
pub mod discovery;
pub mod handover;
pub mod identity;
pub mod life;
pub mod memory;
pub mod metrics;
pub mod observer;
pub mod problem;
pub mod readiness;
pub mod settings;
pub mod signals;
pub mod sockets;
pub mod telemetry;
pub mod unix;
pub mod worker;

mod notify;
mod scheduling;
mod steps;

pub use scheduling::Scheduling;
