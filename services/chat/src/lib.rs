//! Conversations: messages, long polls, typing, presence, read markers.
//!
//! Owns what a message is, the order of messages, and waking polls. It does not restrict who may
//! talk to whom. `profile` owns profiles, `service-host` the bus, `store` how bytes are stored.
//!
//! Invariant: a change of a conversation has one position, the versionstamp of its commit, and a
//! poll that has seen a position gets every later change, whichever instance answers. Typing and
//! presence are announced on the bus alone; losing them does no harm.

mod args;
mod broadcast;
mod conversations;
mod cursor;
mod failure;
mod hub;
mod keys;
mod markers;
mod message;
mod room;
mod routes;
mod transient;
mod updates;

pub use args::Args;
pub use conversations::{ChatError, Conversations, Posted};
pub use message::NewMessage;
pub use routes::serve;
pub use store::Position;
