//! The documents of a plan and the records that running processes share through the same store.
//!
//! Owns their keys, the check that every document passes before it comes into force, and the
//! [`Plan`] that holds those in force beside those refused. Leaves where documents come from to
//! `source`, what a toggle or a rollout means to the modules of that name. Invariant: nothing in
//! force has failed its check, and a document that fails does not displace the last good one.

mod check;
mod edit;
mod fault;
mod key;
mod listener;
mod plan;

pub use check::{DOCUMENT_LEN_MAX, check};
pub use edit::with_field;
pub use fault::{Fault, parse};
pub use key::{Key, KeyError, Kind, NAME_LEN_MAX};
pub use listener::{Listener, URLS_MAX};
pub use plan::{DOCUMENTS_MAX, Document, Entry, Origin, Plan, Refusal, Revision};
