//! JSON documents of members in the store.
//!
//! Owns what a profile is (a JSON object under an id), the versions of its answers, its HTTP
//! routes, and loading profiles from a file. `service-host` owns the bus, `store` how bytes are
//! stored.

mod answers;
mod args;
mod documents;
pub mod load;
mod merge;
mod routes;

pub use answers::Answers;
pub use args::{Args, Command, Load};
pub use documents::{BadDocument, Documents, Page, check_document};
pub use routes::routes;
