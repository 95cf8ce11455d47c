//! What a worker's bus does: the tasks of its listeners, dials, pipes, handlers and timers.
//!
//! `bus` starts them. A task starts further ones only for what it has just learnt of: an accepted
//! connection, another address of a name, a connection of another worker.

pub(crate) mod accept;
pub(crate) mod busy_poll;
pub(crate) mod crossing;
pub(crate) mod dialer;
pub(crate) mod dispatch;
pub(crate) mod handlers;
pub(crate) mod pipe;
pub(crate) mod sharing;
pub(crate) mod timer;
