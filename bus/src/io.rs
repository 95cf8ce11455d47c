//! Sockets: endpoints and their text forms, listening, connecting, reading and writing. This module
//! does not interpret the bytes and runs no tasks.

pub mod endpoint;
pub(crate) mod file;
pub(crate) mod inproc;
pub(crate) mod listen;
pub(crate) mod listener;
pub(crate) mod transport;
