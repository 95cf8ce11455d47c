//! JSON documents of members on the store.
//!
//! Owns: what a profile is (a JSON object under an id), its HTTP routes, and loading many from a file. Does not
//! own: the bus (`service-host`), or how the store keeps bytes (`store`).

mod args;
mod documents;
pub mod load;
mod merge;
mod routes;

pub use args::{Args, Command, Load};
pub use documents::{BadDocument, BadId, Documents, Page, check_document, check_id};
pub use routes::routes;
