//! Conversations: messages, long polls, typing, presence, read markers.
//!
//! Owns: what a message is, its order, and waking those who wait for it. Does not own: who may talk to whom, members'
//! profiles, the bus (`service-host`), or how the store keeps bytes (`store`).
//!
//! Invariant: a change of a conversation has one position, the versionstamp of its commit, and a poll that has seen a
//! position gets every change behind it, whichever instance answers. Typing and presence are told on the bus alone,
//! and are lost without harm.

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
