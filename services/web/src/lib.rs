//! The aggregator: a member's page from the services that know the member.
//!
//! Owns which services a page asks, how long it waits, and how the answers become JSON or HTML. It
//! stores no data, and reaches other services over the bus without linking them.

mod accept;
mod args;
mod ask_error;
mod assets;
mod checked;
mod conversation;
mod feed_page;
mod form;
mod frame;
mod gather;
mod json;
mod page;
mod parts;
mod response;
mod routes;

pub use args::Args;
pub use routes::routes;
