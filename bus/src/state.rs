//! The state of one worker's bus: plain data and its methods. Runs no tasks and reads no sockets.

pub(crate) mod busy_poll;
pub(crate) mod dials;
pub(crate) mod finishing;
pub(crate) mod hold;
pub(crate) mod inboxes;
pub(crate) mod inner;
pub(crate) mod listening;
pub(crate) mod places;
pub(crate) mod serving;
pub(crate) mod subscription;
pub(crate) mod timer;
pub(crate) mod waiting;
