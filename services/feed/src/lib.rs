//! Timelines of members on the store: follow, fan-out, unread.
//!
//! Owns: what an entry is, who sees it (its owner, and those who follow the owner while it is posted), pages with
//! cursors, counters of unread entries. Does not own: members' profiles, the bus (`service-host`), or how the store
//! keeps bytes (`store`).
//!
//! Invariant: an entry has one position, the versionstamp of the commit that posted it, in every timeline. So a page
//! that goes on before a position never shows an entry twice and never misses one, whatever arrives meanwhile.

mod args;
mod counts;
mod entry;
mod failure;
mod feeds;
mod follows;
mod heads;
mod keys;
mod page;
mod pulls;
mod routes;
mod unread;

pub use args::Args;
pub use entry::NewEntry;
pub use feeds::{FeedError, Feeds, Posted};
pub use page::{Page, PageEntry};
pub use routes::routes;
pub use store::Position;
pub use unread::Unread;
