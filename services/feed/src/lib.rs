//! Timelines of members in the store: follows, fan-out, unread counts.
//!
//! Owns what an entry is, who sees it (its owner, and members who follow the owner when it is
//! posted), pages with cursors, and counters of unread entries. `profile` owns profiles,
//! `service-host` the bus, `store` how bytes are stored.
//!
//! Invariant: an entry has one position in every timeline, the versionstamp of the commit that
//! posted it. So a page before a position never shows an entry twice and never misses one, whatever
//! arrives in between.

mod args;
mod cache;
mod counter;
mod counts;
mod entry;
mod failure;
mod feeds;
mod follows;
mod heads;
mod interval;
mod keys;
mod mark;
mod merge;
mod page;
mod pulls;
mod routes;
mod unread;

pub use args::Args;
pub use entry::NewEntry;
pub use feeds::{FeedError, Feeds, Posted};
pub use merge::{Page, PageEntry};
pub use routes::routes;
pub use store::Position;
pub use unread::Unread;
