//! Places in the sequence of requests.
//!
//! Owns how a place is counted. `source` enters the sequence at a place.

use serde::{Deserialize, Serialize};

use super::request::Request;

/// A place in the sequence: everything up to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Requests generated, or lines read.
    pub number: u64,
    /// Bytes of the file; 0 when there is none.
    pub end: u64,
}

/// A request or the reason why there is none, and the place after it.
#[derive(Debug)]
pub struct Item {
    /// The place after the item.
    pub place: Place,
    /// The reason is about the line alone; `Source::at` names the line.
    pub request: Result<Request, String>,
}
