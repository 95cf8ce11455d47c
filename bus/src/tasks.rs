//! The tasks of a worker's bus: listeners, dials, pipes, handlers and timers.
//!
//! `bus` starts them. A task starts others only when something new appears: an accepted connection,
//! another address of a host name, or a connection of another worker.

pub(crate) mod accept;
pub(crate) mod busy_poll;
pub(crate) mod crossing;
pub(crate) mod dialer;
pub(crate) mod dispatch;
pub(crate) mod handlers;
pub(crate) mod pipe;
pub(crate) mod sharing;
pub(crate) mod timer;
